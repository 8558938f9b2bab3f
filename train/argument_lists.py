"""Lists on a command line: values with spaces between them, or the name repeated; both add up."""

from collections.abc import Container
from typing import Any

import typer


def merge_lists(arguments: list[str], flags: set[str]) -> list[str]:
    """Let a list that is given twice add up: all its values stand behind its first mention."""
    merged: list[str] = []
    ends: dict[str, int] = {}
    current = None
    for word in arguments:
        name, equals, value = word.partition("=")
        spelt = name.replace("_", "-")
        if not word.startswith("--"):
            values = [word]
        elif spelt not in flags:
            current, values = None, [word]
        else:
            current, values = spelt, [value] if equals else []
            if spelt not in ends:
                merged.append(spelt)
                ends[spelt] = len(merged)
        if current is None:
            merged += values
            continue
        at = ends[current]
        merged[at:at] = values
        ends = {key: end + len(values) * (end >= at) for key, end in ends.items()}
    return merged


def repeated(arguments: list[str], flags: set[str]) -> tuple[str, int] | None:
    """An option that is given several times, and how often: a parser would take the last."""
    words = [word.partition("=")[0] for word in arguments]
    given = [word.replace("_", "-") for word in words if word in flags]
    for name in given:
        if given.count(name) > 1 and name != "--local-rank":
            return name, given.count(name)
    return None


def repeat_options(words: list[str], options: Container[str]) -> list[str]:
    """Write `--models A B` as `--models A --models B`, which typer reads; the reverse of merging.

    Args:
        words: the command line.
        options: the names that take several values.
    """
    repeated: list[str] = []
    option = ""
    for word in words:
        if word.startswith("-") and word != "-":
            option = word if word in options else ""
            values = 0
            repeated.append(word)
        elif option and (values := values + 1) > 1:
            repeated += [option, word]
        else:
            repeated.append(word)
    return repeated


class SpacedLists(typer.core.TyperCommand):
    """A typer command whose lists may be written with spaces, as in Hugging Face scripts."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, with lists written out."""
        lists = {name for option in self.params if option.multiple for name in option.opts}
        return super().parse_args(ctx, repeat_options(args, lists))
