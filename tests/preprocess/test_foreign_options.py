"""Options of other toolkits: the table, its page, and what commands answer."""

import re
from pathlib import Path

import pytest

from preprocess.cli import app
from preprocess.foreign_options import (
    ANSWERS,
    NOWHERE,
    OF_SHARDS,
    OF_TRAINING,
    SHARDS,
    TOOLKITS,
    TRAINING,
    USUAL,
    Answer,
    explain,
)
from preprocess.help_page import entry_of
from tests.preprocess.support import invoke

PAGE = Path(__file__).resolve().parents[2] / "docs" / "migrate.md"


def options_of(command: str) -> set[str]:
    """Every spelling with dashes of a command's options."""
    if command == TRAINING:
        from train.option_parser import OptionParser
        from train.options import _GROUPS

        return OptionParser(_GROUPS, "", "", "").spellings
    import typer

    options = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    return {flag for option in options for flag in entry_of(option).flags}


OURS = {command: options_of(command) for command in (SHARDS, TRAINING)}


def page_rows(table: dict[str, Answer]) -> list[str]:
    """The lines of the page's table: names with one answer share a line."""
    names: dict[Answer, list[str]] = {}
    for name, answer in table.items():
        names.setdefault(answer, []).append(f"`--{name}`")
    return [f"| {', '.join(found)} | {_cell(answer)} |" for answer, found in names.items()]


def _cell(answer: Answer) -> str:
    if answer.command == NOWHERE:
        return answer.text
    note = f"; {answer.note}" if answer.note else ""
    return f"`{answer.command} {answer.text}`{note}"


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_the_page_says_what_the_table_says(toolkit):
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {toolkit}\n")[1].split("\n## ")[0]
    shown = [line for line in section.splitlines() if line.startswith("| `--")]
    assert shown == page_rows(TOOLKITS[toolkit])


def test_answers_name_options_that_exist():
    wrong = []
    for name, answer in ANSWERS.items():
        flags = re.findall(r"--[a-z][a-z-]+", answer.text) if answer.command != NOWHERE else []
        wrong += [(name, flag) for flag in flags if flag not in OURS[answer.command]]
    assert not wrong


def test_what_is_foreign_is_not_ours():
    """An option that both have needs no answer; the table must not hide it."""
    foreign = {*USUAL, *(name for table in TOOLKITS.values() for name in table)}
    of_training = {name for name in foreign if f"--{name}" in OURS[TRAINING]}
    assert not of_training
    assert not {name for name in (*OF_SHARDS,) if f"--{name.replace('_', '-')}" not in OURS[SHARDS]}
    assert not {name for name in OF_TRAINING if f"--{name}" not in OURS[TRAINING]}


def test_what_the_page_calls_the_same_is_ours():
    text = PAGE.read_text(encoding="utf-8")
    paragraphs = re.findall(r"The same here: ((?:`--\w+`,?\s*)+)", text)
    names = re.findall(r"`(--\w+)`", " ".join(paragraphs))
    assert len(names) > 25 and not [name for name in names if name not in OURS[TRAINING]]


@pytest.mark.parametrize(
    ("option", "command", "answer"),
    [
        ("--model_name_or_path", TRAINING, "here it is --model"),
        ("--model-name-or-path=x", TRAINING, "here it is --model"),
        ("--fp16", TRAINING, "here it is --precision fp16"),
        ("--bf16", TRAINING, "here it is --precision bf16"),
        ("--train_file", TRAINING, "here it is build-shards --input"),
        ("--train_file", SHARDS, "here it is --input"),
        ("--max_seq_length", TRAINING, "here it is build-shards --max-length"),
        ("--max_seq_length", SHARDS, "here it is --max-length"),
        ("--warmup_steps", TRAINING, "here it is --warmup-ratio (a share of the steps)"),
        ("--evaluation_strategy", TRAINING, "here it is --eval-steps"),
        ("--eval_strategy", TRAINING, "here it is --eval-steps"),
        ("--overwrite_output_dir", TRAINING, "here it is --output-dir (a new folder"),
        (
            "--line_by_line",
            TRAINING,
            "here it is build-shards --document-separator line (the default)",
        ),
        ("--do_train", TRAINING, "leave it out: training is what"),
        ("--max-length", TRAINING, "here it is build-shards --max-length"),
        ("--model", SHARDS, "here it is train/pretrain.py --model"),
        ("--lerning-rate", TRAINING, "unknown; did you mean --learning-rate?"),
        ("--model_name_or_pth", TRAINING, "here it is --model"),
        ("--vocabulary", SHARDS, "unknown"),
    ],
)
def test_what_is_answered(option, command, answer):
    typed = option.partition("=")[0]
    assert explain([option], command, OURS[command]).startswith(f"{typed}: {answer}")


def test_commands_answer_in_one_line_for_all_that_they_do_not_know():
    done = invoke("build-shards", "--train_file", "x", "--max_seq_len=3", "--max_length", "64")
    assert done.status == 2 and done.errors.count("\n") == 1
    assert done.errors.startswith(
        "error: --train_file: here it is --input (training reads the shards, named by --data); "
        "--max_seq_len: here it is --max-length; see "
    )
    for words, answer in (
        (["pretrain"], "it is `deepspeed train/pretrain.py"),
        (["evaluate"], "it is `python -m train evaluate`"),
        (["build_shard"], "Did you mean 'build-shards'?"),
    ):
        done = invoke(*words)
        assert done.status == 2 and done.errors.count("\n") == 1
        assert answer in done.errors


def test_names_may_have_underscores_and_lists_spaces(tmp_path):
    (tmp_path / "a.txt").write_text("天下大势\n")
    output = str(tmp_path / "out")
    lists = ["--input", f"{tmp_path}/a.txt", f"{tmp_path}/none.txt", "--max_length", "16"]
    invoke("build_shards", *lists, "--output", output).assert_one_line("none.txt: no such file")
