"""What a comparison shows and what it does not, in words.

Reports are those of `train.report.comparison.make_report`.
"""

from dataclasses import dataclass
from typing import Any

from train.evaluate import floor


@dataclass(frozen=True)
class Cut:
    """What the longest length has cut off for a model."""

    texts: int
    length: int
    """Tokens."""
    tags: float
    """Share of the test part's tags that stand behind it."""


def format_difference(difference: dict[str, Any], digits: int = 2) -> str:
    """A difference and its interval in points of accuracy."""
    middle, low, high = (100 * difference[key] for key in ("accuracy", "low", "high"))
    return f"{middle:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def sentences_of(report: dict[str, Any]) -> list[str]:
    """What is shown: of each contender against the first, then of all against the floor."""
    first = report["summary"][0]["model"]
    names = list(dict.fromkeys(line["model"] for line in report["summary"]))
    lower = floor.name_of(report["task"]["kind"])
    names.remove(lower)
    said = [_against(name, first, _of(report, name, first)) for name in names if name != first]
    alike: dict[str, list[str]] = {}
    for name in names:
        where = _above_floor(lower, _of(report, name, lower))
        alike.setdefault(where, []).append(name)
    for where, group in alike.items():
        said.append(f"{_join(group)} {'is' if len(group) == 1 else 'are'} {where}.")
    return said


def _of(report: dict[str, Any], name: str, baseline: str) -> list[dict[str, Any]]:
    return [d for d in report["differences"] if (d["model"], d["baseline"]) == (name, baseline)]


def _against(name: str, first: str, differences: list[dict[str, Any]]) -> str:
    parts = [
        f"{d['verdict']} with {d['labels']:,} labels, by {_points(d)}"
        for d in differences
        if d["verdict"] != "not distinguishable"
    ]
    unclear = [d for d in differences if d["verdict"] == "not distinguishable"]
    if unclear:
        where = _join([f"{d['labels']:,} labels ({format_difference(d)})" for d in unclear])
        holds = "the interval holds 0" if len(unclear) == 1 else "the intervals hold 0"
        parts.append(f"with {where} {holds}: nothing is shown")
    return f"{name} against {first}: {'; '.join(parts)}."


def _points(difference: dict[str, Any]) -> str:
    low, high = 100 * difference["low"], 100 * difference["high"]
    size = abs(100 * difference["accuracy"])
    if difference["accuracy"] < 0:
        low, high = -high, -low
    return f"{size:.1f} points of accuracy [{low:.1f}, {high:.1f}]"


def _above_floor(lower: str, differences: list[dict[str, Any]]) -> str:
    by_verdict = {
        verdict: _join([f"{d['labels']:,}" for d in differences if d["verdict"] == verdict])
        for verdict in ("better", "worse", "not distinguishable")
    }
    parts = []
    if by_verdict["better"]:
        parts.append(f"above the floor ({lower}) with {by_verdict['better']} labels")
    if by_verdict["not distinguishable"]:
        labels = by_verdict["not distinguishable"]
        parts.append(f"not shown to differ from the floor ({lower}) with {labels} labels")
    if by_verdict["worse"]:
        parts.append(
            f"below the floor ({lower}) with {by_verdict['worse']} labels, so that "
            "differences there say little about pretraining"
        )
    return "; ".join(parts)


def notes_of(report: dict[str, Any], lengths: dict[str, Cut]) -> list[str]:
    """What a reader should know before believing the numbers.

    Args:
        report: without its sentences and notes.
        lengths: for every path what was cut off.
    """
    return [
        *_notes_on_texts(report),
        *_notes_on_lengths(report, lengths),
        *_notes_on_samples(report),
        *_notes_on_tuning(report),
    ]


def _notes_on_texts(report: dict[str, Any]) -> list[str]:
    splits, notes = report["splits"], []
    if report["task"]["empty"]:
        notes.append(f"{report['task']['empty']:,} examples without a text were left out.")
    if splits["copies"]:
        contradicting = ""
        if splits["contradictions"]:
            contradicting = f", {splits['contradictions']:,} of them with another label"
        notes.append(f"{splits['copies']:,} copies of other texts were left out{contradicting}.")
    if splits["in_test_file"]:
        notes.append(
            f"{splits['in_test_file']:,} training texts stand in the test file too, and were left "
            "out of training."
        )
    if splits["seen"]:
        notes.append(
            f"{splits['seen']:,} test texts stand in the shards of --seen-in, and were left out."
        )
    return notes


def _notes_on_lengths(report: dict[str, Any], lengths: dict[str, Cut]) -> list[str]:
    texts = sum(report["splits"][part] for part in ("train", "validation", "test"))
    notes: dict[Cut, list[str]] = {}
    for path, cut in lengths.items():
        if cut.texts:
            notes.setdefault(cut, []).append(path)
    said = []
    for cut, paths in notes.items():
        tags = f"; {cut.tags:.0%} of the test tags stand behind, and count as wrong"
        said.append(
            f"{cut.texts:,} of {texts:,} texts are longer than {cut.length} tokens, and were cut "
            f"for {_join(paths)} (--max-length){tags if cut.tags else ''}."
        )
    return said


def _notes_on_samples(report: dict[str, Any]) -> list[str]:
    notes = []
    paths = report["options"]["models"]
    alone = [n for n, ps in paths.items() if len(ps) == 1 and not ps[0].startswith("random:")]
    if alone:
        notes.append(
            f"The intervals do not cover the luck of pretraining: {_join(alone)} "
            f"{'is one model' if len(alone) == 1 else 'are one model each'} "
            "(NAME=PATH,PATH,... compares several pretraining seeds)."
        )
    if report["options"]["seeds"] < 3:
        notes.append("With fewer than 3 fine-tuning seeds the spread is hardly known (--seeds).")
    return notes


def _notes_on_tuning(report: dict[str, Any]) -> list[str]:
    rates = sorted(report["options"]["learning_rates"])
    edges: dict[str, list[str]] = {}
    unfinished, constant = [], []
    for line in report["summary"]:
        key = (line["model"], line["labels"])
        runs = [r for r in report["results"] if (r["model"], r["labels"]) == key]
        trained = [r for r in runs if r["planned_steps"] is not None]
        ended = sum(r["best_step"] == r["planned_steps"] for r in trained)
        where = f"{line['model']} with {line['labels']:,} labels"
        if line["constant_runs"]:
            constant.append(f"{where} ({line['constant_runs']} of {len(runs)} runs)")
        if ended * 2 > len(runs):
            unfinished.append(f"{where} ({ended} of {len(runs)} runs)")
        if len(rates) > 2 and line["learning_rate"] in (rates[0], rates[-1]):
            edges.setdefault(f"{line['learning_rate']:g}", []).append(where)
    notes = [
        f"The rate {rate} is the {'least' if float(rate) == rates[0] else 'greatest'} that was "
        f"tried, and the best for {_join(places)}: others may be better (--learning-rates)."
        for rate, places in edges.items()
    ]
    if constant:
        notes.append(f"One label is all that was predicted: {_join(constant)}.")
    if unfinished:
        notes.append(
            f"Still getting better at the last step: {_join(unfinished)}; more may be gained with "
            "more --epochs."
        )
    return notes


def _join(items: list[str]) -> str:
    return ", ".join(items[:-1]) + (" and " if len(items) > 1 else "") + items[-1] if items else ""
