"""What an adaptation has shown: masked loss before and after, and a sentence: what to use."""

from pathlib import Path
from typing import Any

from train.adapt.commands import before, pretraining_folder
from train.adapt.options import AdaptOptions
from train.evaluate import floor
from train.report.comparison_text import format_difference
from train.report.log import read_metrics

DOMAIN = "validation"
"""What metrics.jsonl calls the rows put aside from the domain's text."""


def masked_losses(options: AdaptOptions, names: list[str]) -> list[dict[str, Any]]:
    """Masked loss of each pretraining on each validation, as it began and at its lowest.

    `best/` is the model of the lowest loss in the domain; other validations are those of its step.
    """
    rows = []
    for name in names:
        for seed in range(1, options.pretraining_seeds + 1):
            found = _validations(pretraining_folder(options, name, seed) / "metrics.jsonl")
            step = min(found[DOMAIN], key=lambda s: found[DOMAIN][s])
            rows += [
                {
                    "model": name,
                    "seed": seed,
                    "text": "domain" if kind == DOMAIN else kind,
                    "before": losses[min(losses)],
                    "after": losses[step],
                    "step": step,
                }
                for kind, losses in found.items()
            ]
    return rows


def _validations(file: Path) -> dict[str, dict[int, float]]:
    """Losses by the name of the validation and the step."""
    found: dict[str, dict[int, float]] = {DOMAIN: {}}
    for entry in read_metrics(file):
        if entry["kind"] not in ("train", "run") and entry.get("loss") is not None:
            found.setdefault(entry["kind"], {})[entry["step"]] = entry["loss"]
    return found


def conclude(options: AdaptOptions, report: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """What to use, its path, and why, in a sentence.

    A model is worth using if its interval against the model as it was lies above 0 for some number
    of labels and below 0 for none; of several the one with the largest mean difference.
    """
    found = {
        name: [d for d in report["differences"] if (d["model"], d["baseline"]) == (name, "before")]
        for name in names
    }
    gains = {
        name: ds
        for name, ds in found.items()
        if any(d["verdict"] == "better" for d in ds) and all(d["verdict"] != "worse" for d in ds)
    }
    if not gains:
        worse = [n for n, ds in found.items() if any(d["verdict"] == "worse" for d in ds)]
        why = "no pretraining is shown to gain on this task"
        if worse:
            why += f", and {' and '.join(worse)} did harm"
        start = before(options)
        advice = "Use none of them" if start != options.model else f"Use {options.model} as it is"
        return {"use": "before", "path": start, "sentence": f"{advice}: {why}."}
    name = max(gains, key=lambda n: sum(d["accuracy"] for d in gains[n]))
    path = pretraining_folder(options, name, 1) / "best"
    shown = [d for d in gains[name] if d["verdict"] == "better"]
    points = " and ".join(
        f"{format_difference(d, 1)} points of accuracy with {d['labels']:,} labels" for d in shown
    )
    return {
        "use": name,
        "path": str(path),
        "sentence": f"Use {path}: against {before(options)} it gains {points}."
        + _caution(report, name, [d["labels"] for d in shown]),
    }


def _caution(report: dict[str, Any], name: str, labels: list[int]) -> str:
    """That the floor is better still, where it is shown to be."""
    lower = floor.name_of(report["task"]["kind"])
    below = [
        d
        for d in report["differences"]
        if (d["model"], d["baseline"], d["verdict"]) == (name, lower, "worse")
        and d["labels"] in labels
    ]
    if not below:
        return ""
    points = " and ".join(f"{-100 * d['accuracy']:.1f} with {d['labels']:,}" for d in below)
    counting = {
        floor.N_GRAMS: "N-grams with logistic regression are",
        floor.TAGS: "The commonest tag of each word is",
    }
    return f" {counting[lower]} better still, by {points}."
