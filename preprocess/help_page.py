"""What --help shows: options in panels by what they are about, in two columns that fit 80."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.box import ROUNDED
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from preprocess.bundled import as_called

_MOST_WIDTH = 110
"""Columns beyond which lines are hard to read."""
_KINDS = {bool: "flag", int: "integer", float: "number", list: "texts", tuple: "text"}
_SHORT = {"integer": "N", "number": "X", "text": "TEXT", "texts": "TEXT ..."}
"""What stands behind an option's name for its value."""
COMMAND = "command"
"""The values of an entry that is a command."""


@dataclass(frozen=True)
class Entry:
    """One option, argument or command."""

    flags: tuple[str, ...]
    """Every spelling, with its dashes."""
    values: str
    """What can be given."""
    default: str
    """What is taken where nothing is given; empty if that is nothing."""
    text: str
    """The help text."""
    panel: str = ""
    """What it is about; empty for `options`."""

    @property
    def name(self) -> str:
        """The spellings and, short, the value."""
        if self.values == COMMAND:
            return self.flags[0]
        kind = self.values.split(",")[0]
        value = "NAME" if kind.startswith("`") else _SHORT.get(kind, "")
        if not self.flags[0].startswith("-"):
            return self.flags[0].upper()
        return f"{', '.join(self.flags)} {value}".strip()

    @property
    def explanation(self) -> str:
        """The help text, the choices and the default."""
        if self.default == "required":
            return f"{self.text} [required]"
        choices = f" One of {self.values.replace('`', '')}." if "`" in self.values else ""
        default = f" [default: {self.default.replace('`', '')}]" if self.default else ""
        return f"{self.text}{choices}{default}"


def spell_kind(kind: Any) -> str:
    """The kind of value that a type stands for."""
    return _KINDS.get(kind, "text")


def spell_default(value: Any) -> str:
    """A default as documentation shows it."""
    if value is None or value is False or value in ("", [], ()):
        return ""
    if value is True:
        return "on"
    return f"`{' '.join(map(str, value)) if isinstance(value, list | tuple) else value}`"


def entry_of(option: Any) -> Entry:
    """The entry of a typer option or argument."""
    default = "required" if option.required else spell_default(option.default)
    if isinstance(option.show_default, str):  # what follows from the machine is said in words
        default = option.show_default
    limits = getattr(option, "type", option)  # where an older typer keeps them
    least, most = getattr(limits, "min", None), getattr(limits, "max", None)
    kind: Any = type(option.default)
    if option.default is None and hasattr(option, "type_descriptor"):  # the annotation says it
        kind = option.type_descriptor.annotation
    values = spell_kind(kind)
    if least is not None:
        values += f", {least} or more" if most is None else f", {least} to {most}"
    spellings = (*option.opts, *option.secondary_opts)
    return Entry(spellings, values, default, option.help or "")


def arrange(entries: Sequence[Entry], panels: Mapping[str, tuple[str, ...]]) -> list[Entry]:
    """The entries panel by panel; of those that no panel names, arguments first, options last."""
    places = {flag: panel for panel, flags in panels.items() for flag in flags}
    order = ["arguments", *panels, "options"]
    placed = []
    for entry in entries:
        other = "options" if entry.flags[0].startswith("-") else "arguments"
        panel = next((places[flag] for flag in entry.flags if flag in places), other)
        placed.append(replace(entry, panel=panel))
    return sorted(placed, key=lambda entry: order.index(entry.panel))


def show_help(usage: str, text: str, entries: Sequence[Entry], examples: str = "") -> None:
    """Print a help page.

    Args:
        usage: the command line in short.
        text: what the command does.
        entries: its options in order.
        examples: command lines, which are broken before options where they are too long.
    """
    console = Console(highlight=False, emoji=False)
    console.width = min(console.width, _MOST_WIDTH)
    console.print(Text.assemble(("Usage: ", "bold"), as_called(usage)), soft_wrap=True)
    console.print()
    console.print(Text(as_called(text)))
    console.print()
    width = max((len(entry.name) for entry in entries), default=0)
    for title, members in _panels(entries).items():
        console.print(_panel(title, members, min(width, console.width // 2)))
    if examples:
        console.print(Text("Examples:", style="bold"))
        for command in as_called(examples.strip()).replace("\\\n", " ").splitlines():
            for line in _break(command, console.width):
                console.print(Text(line), soft_wrap=True)


def _break(command: str, width: int) -> list[str]:
    """Lines of at most `width` columns, if options allow; those that go on are indented."""
    first, *options = re.split(r" (?=--?\w)", " ".join(command.split()))
    lines = [f"  {first}"]
    for option in options:
        if len(lines[-1]) + len(option) + 3 <= width:  # a space, and room for " \\"
            lines[-1] += f" {option}"
        else:
            lines[-1] += " \\"
            lines.append(f"      {option}")
    return lines


def _panels(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.panel or "options", []).append(entry)
    return found


def _panel(title: str, entries: list[Entry], width: int) -> Panel:
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(width=width, style="cyan", overflow="fold")
    table.add_column(ratio=1)
    for entry in entries:
        table.add_row(Text(entry.name), Text(as_called(entry.explanation)))
    return Panel(table, title=title, title_align="left", box=ROUNDED, border_style="dim")
