"""How typer commands read a command line and speak of it: help in panels, refusals in one line."""

import sys
from collections.abc import Container, Mapping
from typing import Any, ClassVar, NoReturn

import typer

from preprocess.console import fail
from preprocess.foreign_options import explain
from preprocess.help_page import COMMAND, Entry, arrange, entry_of, show_help

EXIT_USAGE = 2
Panels = Mapping[str, tuple[str, ...]]
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""UsageError, which typer has of its own, or of the click library in older releases."""
_WORDS = "wholeword.words"
_TRAINING = "deepspeed train/pretrain.py --deepspeed ds_configs/zero2.json"

ELSEWHERE = {
    **dict.fromkeys(("pretrain", "train", "run", "finetune"), _TRAINING),
    **{
        name: f"python -m preprocess {name}"
        for name in ("build-shards", "train-vocab", "verify", "describe")
    },
    **{name: f"python -m train {name}" for name in ("evaluate", "predict", "compare", "adapt")},
    "average": "python -m train average",
}
"""Commands that are asked of the other package."""


class _OneLine:
    """What commands and groups have in common."""

    panels: ClassVar[Panels] = {}
    """Names of options by what they are about, in the order of the help page."""

    def make_context(
        self, info_name: Any, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """As click does, with `-h`, and with underscores for dashes in names."""
        extra.setdefault("help_option_names", ["-h", "--help"])
        extra.setdefault("token_normalize_func", _dashed)
        return super().make_context(info_name, args, parent, **extra)  # type: ignore[misc]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click does, with lists written out; the words are kept for what is said of them."""
        ctx.meta[_WORDS] = list(args)
        options = [option for option in self.get_params(ctx) if getattr(option, "multiple", False)]  # type: ignore[attr-defined]
        lists = {name for option in options for name in option.opts}
        return super().parse_args(ctx, repeat_options(args, lists))  # type: ignore[misc]

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run and exit; what the parser refuses is one line, and status 2."""
        run: Any = super().main  # type: ignore[misc]
        if not extra.pop("standalone_mode", True):
            return run(*args, standalone_mode=False, **extra)
        try:
            status = run(*args, standalone_mode=False, **extra)
        except _USAGE_ERROR as error:
            _refuse(error)
        sys.exit(status if isinstance(status, int) else 0)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the page; `formatter` stays empty."""
        usage = " ".join([ctx.command_path, *self.collect_usage_pieces(ctx)])  # type: ignore[attr-defined]
        options = [option for option in self.get_params(ctx) if not _is_hidden(option)]  # type: ignore[attr-defined]
        entries = arrange([entry_of(option) for option in options], self.panels)
        if commands := getattr(self, "commands", None):
            entries = [_command_entry(name, command) for name, command in commands.items()]
        text = " ".join((getattr(self, "help", "") or "").split())
        show_help(usage, text, entries, getattr(self, "epilog", "") or "")


class Command(_OneLine, typer.core.TyperCommand):
    """A command of typer's that is helpful in one line."""


def in_panels(panels: Panels, base: type[Command] = Command) -> type[Command]:
    """A kind of command whose help shows its options in these panels."""
    return type(base.__name__, (base,), {"panels": panels})


class Group(_OneLine, typer.core.TyperGroup):
    """A group of typer's that is helpful in one line."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As click does; a command of the other package is named."""
        name = _dashed(args[0])
        if name not in self.commands and name in ELSEWHERE:
            ctx.fail(f"No such command '{name}': it is `{ELSEWHERE[name]}`")
        return super().resolve_command(ctx, args)


def repeat_options(words: list[str], options: Container[str]) -> list[str]:
    """Write `--models A B` as `--models A --models B`, which typer reads.

    Args:
        words: the command line.
        options: the names that take several values.
    """
    repeated: list[str] = []
    option = ""
    for word in words:
        if word.startswith("-") and word != "-" and not _is_number(word):
            option = word if _dashed(word) in options else ""
            values = 0
            repeated.append(word)
        elif option and (values := values + 1) > 1:
            repeated += [option, word]
        else:
            repeated.append(word)
    return repeated


def _is_number(word: str) -> bool:
    """Whether a word is a number, such as -1, which is a value and not an option's name."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _is_hidden(option: Any) -> bool:
    return bool(getattr(option, "hidden", False)) or "--help" in option.opts


def _command_entry(name: str, command: Any) -> Entry:
    return Entry((name,), COMMAND, "", " ".join((command.help or "").split()), "commands")


def _refuse(error: Any) -> NoReturn:
    """Say in one line what is wrong with the command line, and exit."""
    kind = type(error).__name__
    if kind == "NoArgsIsHelpError":  # the help is printed already
        sys.exit(EXIT_USAGE)
    message = " ".join(error.format_message().split()).rstrip(".")
    if (ctx := error.ctx) is None:
        fail(message)
        sys.exit(EXIT_USAGE)
    if kind == "NoSuchOption":
        message = _explain_unknown(error.option_name, ctx)
    fail(f"{message}; see {ctx.command_path} --help")
    sys.exit(EXIT_USAGE)


def _explain_unknown(name: str, ctx: Any) -> str:
    options = ctx.command.get_params(ctx)
    own = [name for option in options for name in (*option.opts, *option.secondary_opts)]
    words = [word for word in ctx.meta.get(_WORDS, ()) if word.startswith("--")]
    unknown = [word for word in words if _dashed(word.partition("=")[0]) not in (*own, "--")]
    return explain(unknown or [name], ctx.info_name or "", own)
