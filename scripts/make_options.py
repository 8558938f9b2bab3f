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

from preprocess.help_page import Entry, entry_of  # noqa: E402

PAGE = ROOT / "docs" / "options.md"
STALE = "the command line changed: run python scripts/make_options.py and say so in CHANGELOG.md"

_INTRODUCTION = """# Options

Written by `python scripts/make_options.py` from the code; edit the help texts there, not this page.

`-h` or `--help` shows the same. An option without a default is off, or empty, unless it is given.
Dashes and underscores in names mean the same. Several values of one option stand behind it with
spaces between them, or each behind its own mention of the option. What other toolkits call an
option is in [migrate.md](migrate.md).
"""


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
        entries = tuple(entry_of(option) for option in command.params if not option.hidden)
        yield Section(f"{program} {name}", " ".join((command.help or "").split()), entries)


def _training_sections(program: str) -> Iterator[Section]:
    from train.option_parser import group_entries
    from train.options import Options

    groups: dict[str, Any] = typing.get_type_hints(Options)
    for name, group in groups.items():
        if dataclasses.is_dataclass(group):
            text = (group.__doc__ or "").strip().splitlines()[0]
            yield Section(f"{program}: {name}", text, tuple(group_entries(group)))


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
