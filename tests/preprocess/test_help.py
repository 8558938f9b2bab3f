"""Help pages: they fit a terminal, show every option, and their examples are command lines."""

import io
import shlex
from contextlib import redirect_stdout

import pytest
import typer

from preprocess.cli import app
from preprocess.help_page import entry_of
from preprocess.panels import BUILD_PANELS
from train import panels as train_panels
from train.option_parser import OptionParser
from train.options import _GROUPS

GROUP = typer.main.get_command(app)


def shown(arguments: list[str], monkeypatch: pytest.MonkeyPatch, width: int) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    output = io.StringIO()
    with redirect_stdout(output), pytest.raises(SystemExit) as end:
        app([*arguments, "--help"], prog_name="python -m preprocess")
    assert end.value.code == 0
    return output.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_a_page_fits_and_cuts_nothing(monkeypatch, width):
    page, examples = shown(["build-shards"], monkeypatch, width).split("Examples:")
    assert max(map(len, page.splitlines())) <= width
    assert "…" not in page
    for flag in ("--document-separator", "--validation-fraction", "package.module:function"):
        assert flag in page
    titles = [line.split()[1] for line in page.splitlines() if line.startswith("╭")]
    assert titles[: len(BUILD_PANELS)] == [title.split()[0] for title in BUILD_PANELS]
    assert "python -m preprocess build-shards --input corpus/" in examples
    assert max(map(len, examples.splitlines())) <= width
    long = "--input corpus/ --tokenizer bert-base-chinese --output shards"
    if width == 80:
        long = long.replace(" --tokenizer", " \\\n      --tokenizer")
    assert f"  python -m preprocess build-shards {long}\n" in examples


@pytest.mark.parametrize("width", [80, 120])
def test_the_trainers_page_names_each_option_once(monkeypatch, capsys, width):
    monkeypatch.setenv("COLUMNS", str(width))
    parser = OptionParser(_GROUPS, "train/pretrain.py", "Pretrain.", train_panels.TRAINING_EXAMPLES)
    parser.print_help()
    page, examples = capsys.readouterr().out.split("Examples:")
    assert max(map(len, page.splitlines())) <= width and "…" not in page
    assert max(map(len, examples.splitlines())) <= width
    names = [line.split()[1] for line in page.splitlines() if line.startswith("│ --")]
    assert len(names) == len(set(names)) == len(parser.lists | _dashed(parser))
    assert not [name for name in names if "_" in name]
    for command in _commands(examples):
        parser.read(command[command.index("train/pretrain.py") + 1 :])


def _dashed(parser: OptionParser) -> set[str]:
    return {name for name in parser.spellings if "_" not in name} - {"-h", "--help"}


def _commands(examples: str) -> list[list[str]]:
    lines = examples.replace("\\\n", " ").strip().splitlines()
    return [shlex.split(line) for line in lines]


def test_examples_are_command_lines():
    for name, command in GROUP.commands.items():
        lines = _commands(command.epilog)
        assert lines
        for words in lines:
            assert words[:4] == ["python", "-m", "preprocess", name]
            command.make_context(name, words[4:])


def test_panels_name_options_that_exist():
    flags = {f for o in GROUP.commands["build-shards"].params for f in entry_of(o).flags}
    assert {flag for panel in BUILD_PANELS.values() for flag in panel} <= flags
