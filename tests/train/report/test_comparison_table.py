"""The table of a comparison on terminals of any width."""

import io
import re

import pytest
from rich.console import Console

from train.report.comparison_table import comparison_table, fold_path

LONG = ("random:../runs/domain/best", "../runs/domain-adapted-seed-1/best", "n-grams")


def report(names=LONG, labels=(200,)):
    lines = [(name, count) for count in labels for name in names]
    return {
        "splits": {"test": 2000},
        "summary": [
            {"model": name, "labels": count, "accuracy_mean": 0.346, "accuracy_sd": 0.019,
             "macro_f1_mean": 0.172}
            for name, count in lines
        ],
        "differences": [
            {"model": names[1], "baseline": names[0], "labels": count, "accuracy": 0.12,
             "low": -0.094, "high": 0.148, "verdict": "not distinguishable"}
            for count in labels
        ],
    }  # fmt: skip


def shown(report, width):
    """What a terminal of `width` columns shows; None: what a pipe gets."""
    terminal = width is not None
    target = Console(
        file=io.StringIO(),
        width=width or 80,
        force_terminal=terminal,
        soft_wrap=True,
        no_color=True,
    )
    target.print(comparison_table(report, width))
    return re.sub(r"\x1b\[[0-9;]*m", "", target.file.getvalue())


@pytest.mark.parametrize("width", [80, 100, 120, None])
@pytest.mark.parametrize("labels", [(200,), (100, 1000, 78510)])
def test_nothing_is_cut_at_any_width(width, labels):
    text = shown(report(labels=labels), width)
    lines = text.splitlines()
    assert "…" not in text
    assert text.count("+12.0 [-9.4, +14.8]") == text.count("distinguishable") == len(labels)
    assert text.count("34.6 ± 1.9") == 3 * len(labels)
    assert max(map(len, lines)) <= (width or 1000)
    assert ("17.2" in text) == (width in (120, None))  # macro-F1 goes first
    if width != 80:
        assert all(name in text for name in LONG)
    assert "against the first" in text  # its name is too long to stand there


def test_short_names_leave_room_for_all():
    text = shown(report(("before", "words", "n-grams")), 80)
    assert "against before" in text
    assert "+12.0 [-9.4, +14.8]  not distinguishable" in text


def test_paths_are_folded_behind_slashes():
    assert fold_path("../runs/domain-adapted/best", 16) == "../runs/\ndomain-adapted/\nbest"
    assert fold_path("abcdefgh", 3) == "abc\ndef\ngh"
    assert fold_path("中文模型", 4) == "中文\n模型"
