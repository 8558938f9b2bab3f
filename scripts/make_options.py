"""Write docs/options.md: every option of every command, read off the code that parses them.

    python scripts/make_options.py            # write the page
    python scripts/make_options.py --check    # exit 1 if the page differs

The same text comes out on every machine: a default that depends on the machine is shown in words.
"""

import argparse
import dataclasses
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import typer  # noqa: E402

PAGE = ROOT / "docs" / "options.md"
STALE = "the command line changed: run python scripts/make_options.py and say so in CHANGELOG.md"

_INTRODUCTION = """# Options

Written by `python scripts/make_options.py` from the code; edit the help texts there, not this page.

`-h` or `--help` shows the same. An option without a default is off, or empty, unless it is given;
dashes and underscores in the names of `train/pretrain.py`'s options mean the same.
"""

_KINDS = {bool: "flag", int: "integer", float: "number", list: "texts", tuple: "text"}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One option."""

    flags: tuple[str, ...]
    """Every spelling, with its dashes."""
    values: str
    """What can be given."""
    default: str
    """What is taken where nothing is given; empty if that is nothing."""
    text: str
    """The help text."""


@dataclasses.dataclass(frozen=True)
class Section:
    """The options of one command, or of one group of a command's options."""

    title: str
    text: str
    entries: tuple[Entry, ...]


def sections() -> Iterator[Section]:
    """Every command, in the order in which a user meets them."""
    # Seconds of imports, which --help does not need.
    import preprocess.cli
    import train.cli

    yield from _typer_sections("python -m preprocess", preprocess.cli.app)
    yield from _training_sections("deepspeed train/pretrain.py")
    yield from _typer_sections("python -m train", train.cli.app)


def _typer_sections(program: str, app: typer.Typer) -> Iterator[Section]:
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        entries = tuple(_typer_entry(option) for option in command.params if not option.hidden)
        yield Section(f"{program} {name}", " ".join((command.help or "").split()), entries)


def _typer_entry(option: Any) -> Entry:
    default = "required" if option.required else _spell_default(option.default)
    if isinstance(option.show_default, str):  # what follows from the machine is said in words
        default = option.show_default
    limits = getattr(option, "type", option)  # where an older typer keeps them
    least, most = getattr(limits, "min", None), getattr(limits, "max", None)
    kind: Any = type(option.default)
    if option.default is None and hasattr(option, "type_descriptor"):  # the annotation says it
        kind = option.type_descriptor.annotation
    values = _KINDS.get(kind, "text")
    if least is not None:
        values += f", {least} or more" if most is None else f", {least} to {most}"
    return Entry((*option.opts, *option.secondary_opts), values, default, option.help or "")


def _training_sections(program: str) -> Iterator[Section]:
    from train.options import Options, flag

    groups: dict[str, Any] = typing.get_type_hints(Options)
    for name, group in groups.items():
        if not dataclasses.is_dataclass(group):
            continue
        hints = typing.get_type_hints(group)
        entries = tuple(
            Entry(
                (flag(field.name),),
                _spell_type(hints[field.name]),
                _spell_default(_default(field)),
                field.metadata["help"],
            )
            for field in dataclasses.fields(group)
        )
        text = (group.__doc__ or "").strip().splitlines()[0]
        yield Section(f"{program}: {name}", text, entries)


def _default(field: dataclasses.Field[Any]) -> Any:
    made = field.default_factory
    return field.default if isinstance(made, type(dataclasses.MISSING)) else made()


def _spell_type(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(hint))
    return _KINDS.get(typing.get_origin(hint) or hint, "text")


def _spell_default(value: Any) -> str:
    if value is None or value is False or value in ("", [], ()):
        return ""
    if value is True:
        return "on"
    return f"`{' '.join(map(str, value)) if isinstance(value, list | tuple) else value}`"


def page() -> str:
    """The whole of docs/options.md."""
    parts = [_INTRODUCTION]
    for section in sections():
        lines = [f"## {section.title}", "", section.text, "", "| option | values | default | |"]
        lines.append("| --- | --- | --- | --- |")
        for entry in section.entries:
            flags = ", ".join(f"`{spelling}`" for spelling in entry.flags)
            cells = (flags, entry.values, entry.default, entry.text)
            lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def is_current() -> bool:
    """Whether docs/options.md is what the code says."""
    return PAGE.exists() and PAGE.read_text(encoding="utf-8") == page()


def main() -> int:
    """Write the page, or check it; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if it differs")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
    elif not is_current():
        print(f"error: {PAGE.relative_to(ROOT)}: {STALE}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
