"""A command line from dataclasses: each field is an option, each class a panel of the help."""

import argparse
import dataclasses
import typing
from collections.abc import Sequence
from typing import Any, NoReturn

from preprocess.help_page import Entry, show_help, spell_default, spell_kind

_NOT_GIVEN: Any = object()
_TRUE, _FALSE = {"true", "yes", "1", "on"}, {"false", "no", "0", "off"}


class OptionParser(argparse.ArgumentParser):
    """Reads options into dataclasses; a name is spelt with dashes, or with underscores.

    Args:
        groups: frozen dataclasses, whose fields have defaults and a text `help` in their metadata.
        program: what the help calls the program.
        text: what the program does.
        examples: command lines for the help.
    """

    def __init__(self, groups: Sequence[Any], program: str, text: str, examples: str) -> None:
        super().__init__(prog=program, description=text, allow_abbrev=False)
        self._groups, self._examples = groups, examples
        for group in groups:
            hints = typing.get_type_hints(group)
            for option in dataclasses.fields(group):
                spellings = dict.fromkeys((flag(option.name), f"--{option.name}"))
                how = _how(hints[option.name])
                self.add_argument(*spellings, dest=option.name, **how)

    @property
    def spellings(self) -> set[str]:
        """Every name that is understood."""
        return set(self._option_string_actions)

    @property
    def lists(self) -> set[str]:
        """The names, with dashes, of options that take several values."""
        return {flag(action.dest) for action in self._actions if action.nargs == "+"}

    def read(self, arguments: list[str]) -> tuple[list[Any], frozenset[str], list[str]]:
        """The dataclasses, the names of the options that are given, and what was not understood."""
        names = [option.name for group in self._groups for option in dataclasses.fields(group)]
        blank = argparse.Namespace(**dict.fromkeys(names, _NOT_GIVEN))
        values, unknown = self.parse_known_args(arguments, blank)
        given = {name: value for name, value in vars(values).items() if value is not _NOT_GIVEN}
        made = [
            group(**{o.name: given[o.name] for o in dataclasses.fields(group) if o.name in given})
            for group in self._groups
        ]
        return made, frozenset(given), unknown

    def print_help(self, file: Any = None) -> None:
        """Print the page: a panel for each group."""
        entries = [entry for group in self._groups for entry in group_entries(group)]
        text = f"{self.description} Underscores for dashes mean the same."
        show_help(f"deepspeed {self.prog} [OPTIONS]", text, entries, self._examples)

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong, in words."""
        raise ValueError(message)


def group_entries(group: Any) -> list[Entry]:
    """The options of a dataclass, under the beginning of its name."""
    hints = typing.get_type_hints(group)
    panel = group.__name__.removesuffix("Options").lower()
    return [
        Entry(
            (flag(option.name),),
            _spell_type(hints[option.name]),
            spell_default(_default(option)),
            option.metadata["help"],
            panel,
        )
        for option in dataclasses.fields(group)
    ]


def flag(name: str) -> str:
    """The command line's spelling of a field's name."""
    return "--" + name.replace("_", "-")


def _how(hint: Any) -> dict[str, Any]:
    """How argparse reads a value of a type."""
    if hint is bool:
        return {"type": _truth, "nargs": "?", "const": True, "metavar": "BOOL"}
    if typing.get_origin(hint) is typing.Literal:
        return {"choices": typing.get_args(hint)}
    if typing.get_origin(hint) is list:
        return {"type": typing.get_args(hint)[0], "nargs": "+"}
    return {"type": hint}


def _truth(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise argparse.ArgumentTypeError(f"{text!r} is not true or false")
    return text.lower() in _TRUE


def _default(option: dataclasses.Field[Any]) -> Any:
    if option.default_factory is not dataclasses.MISSING:
        return option.default_factory()
    return option.default


def _spell_type(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(hint))
    return spell_kind(typing.get_origin(hint) or hint)
