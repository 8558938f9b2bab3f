"""The account of a comparison: report.json, predictions, a picture, a page."""

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy
import sklearn
import torch
import transformers

from preprocess.errors import WholewordError
from preprocess.files import write_bytes, write_json, write_text
from train.evaluate import floor
from train.evaluate.compare import Comparison, Result, identity
from train.evaluate.splits import TEST_SHARE, VALIDATION_SHARE
from train.evaluate.statistics import RESAMPLES, mean_and_sd, paired_difference
from train.report.comparison_page import comparison_page
from train.report.comparison_picture import draw_comparison
from train.report.comparison_text import Cut, notes_of, sentences_of

REPORT = "report.json"
PICTURE = "compare.png"
PAGE = "report.html"
PREDICTIONS = "predictions.jsonl"
TEST = "test.jsonl"


def write_comparison(comparison: Comparison) -> dict[str, Any]:
    """Write everything into the comparison's folder, report.json last; returns the report.

    Raises:
        WholewordError: a file cannot be written.
    """
    output = comparison.setting.options.output
    report = make_report(comparison)
    try:
        write_text(output / TEST, "".join(_test_lines(comparison)))
        write_text(output / PREDICTIONS, "".join(_prediction_lines(comparison)))
        pictures = {
            (dark, narrow): draw_comparison(report, dark, narrow=narrow)
            for dark in (False, True)
            for narrow in (False, True)
        }
        write_bytes(output / PICTURE, pictures[False, False])
        write_text(output / PAGE, comparison_page(report, pictures))
        write_json(output / REPORT, report)
    except OSError as error:
        raise WholewordError(f"{output}: cannot be written ({error.strerror or error})") from error
    return report


def read_report(output: Path) -> dict[str, Any] | None:
    """The report of a finished comparison, or None."""
    try:
        found = json.loads((output / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def make_report(comparison: Comparison) -> dict[str, Any]:
    """What report.json holds; the same numbers give the same file. Accuracies are shares."""
    setting = comparison.setting
    task, options = setting.task, setting.options
    report: dict[str, Any] = {
        "task": {
            "path": task.path,
            "kind": task.kind,
            "label_names": list(task.label_names),
            "examples": len(task),
            "empty": task.empty,
            "floor": floor.describe_floor(task),
        },
        "splits": {
            **setting.split.counts(),
            "labels": list(setting.labels),
            "test_file": str(options.test) if options.test else None,
            "test_share": None if options.test else TEST_SHARE,
            "validation_share": VALIDATION_SHARE,
        },
        "options": identity(setting),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "scikit-learn": sklearn.__version__,
            "numpy": numpy.__version__,
            "threads": torch.get_num_threads(),
            "resamples": RESAMPLES,
        },
        "results": [_result(result) for result in comparison.results],
        "sweep": [_result(result) for result in comparison.sweep],
        "summary": _summary(comparison),
        "differences": _differences(comparison),
    }
    report["sentences"] = sentences_of(report)
    report["notes"] = notes_of(report, _lengths(comparison))
    return report


def _lengths(comparison: Comparison) -> dict[str, Cut]:
    """For every path what its longest length has cut off."""
    split = comparison.setting.split
    rows = numpy.concatenate([split.train, split.validation, split.test])
    return {
        path: Cut(
            int(model.encoded.is_cut[rows].sum()), model.max_length, _share_cut(comparison, path)
        )
        for path, model in comparison.setting.models.items()
    }


def _share_cut(comparison: Comparison, path: str) -> float:
    """The share of the test part's tags that a model never sees the words of."""
    result = next(result for result in comparison.results if result.path == path)
    found = [label for labels in result.outcome.predictions for label in labels]
    return found.count(-1) / len(found)


def _result(result: Result) -> dict[str, Any]:
    outcome = asdict(result.outcome)
    del outcome["predictions"]
    if result.path in floor.NAMES:  # is fitted, not trained
        keys = ("validation_loss", "steps", "planned_steps", "best_step")
        outcome.update(dict.fromkeys(keys))
    return {
        "model": result.model,
        "labels": result.labels,
        "seed": result.seed,
        "accuracy": outcome.pop("accuracy"),
        "macro_f1": outcome.pop("macro_f1"),
        "path": result.path,
        "learning_rate": result.learning_rate,
        "regularization": result.regularization,
        **outcome,
    }


def _is_constant(result: Result) -> bool:
    """Whether one label is all that it predicts."""
    return len({label for labels in result.outcome.predictions for label in labels} - {-1}) == 1


def _summary(comparison: Comparison) -> list[dict[str, Any]]:
    summary = []
    for labels in comparison.setting.labels:
        for name in comparison.names():
            results = comparison.of(name, labels)
            accuracy, accuracy_sd = mean_and_sd([r.outcome.accuracy for r in results])
            macro_f1, macro_f1_sd = mean_and_sd([r.outcome.macro_f1 for r in results])
            summary.append(
                {
                    "model": name,
                    "labels": labels,
                    "accuracy_mean": accuracy,
                    "accuracy_sd": accuracy_sd,
                    "macro_f1_mean": macro_f1,
                    "macro_f1_sd": macro_f1_sd,
                    "models": len({r.path for r in results}),
                    "runs": len(results),
                    "learning_rate": results[0].learning_rate,
                    "constant_runs": sum(map(_is_constant, results)),
                }
            )
    return summary


def _differences(comparison: Comparison) -> list[dict[str, Any]]:
    """Of every contender to the first, and of every contender to the floor."""
    *contenders, floor_name = comparison.names()
    pairs = [(name, contenders[0]) for name in contenders[1:]]
    pairs += [(name, floor_name) for name in contenders]
    sizes = comparison.sizes()
    differences = []
    for labels in comparison.setting.labels:
        correct = {name: comparison.correct(name, labels) for name in comparison.names()}
        for name, baseline in pairs:
            found = paired_difference(correct[name], correct[baseline], sizes)
            differences.append(
                {
                    "model": name,
                    "baseline": baseline,
                    "labels": labels,
                    "accuracy": found.difference,
                    "low": found.low,
                    "high": found.high,
                    "verdict": found.verdict,
                }
            )
    return differences


def _test_lines(comparison: Comparison) -> list[str]:
    """The test examples, in the order of the predictions."""
    task = comparison.setting.task
    lines = []
    for row in comparison.setting.split.test.tolist():
        labels = [task.label_names[label] for label in task.labels[row]]
        entry: dict[str, Any] = {"text": task.texts[row]}
        if task.kind == "pair":
            entry["pair"] = task.pairs[row]
        if task.kind == "tagging":
            entry["words"] = list(task.words[row])
        entry["label"] = labels if task.kind == "tagging" else labels[0]
        lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
    return lines


def _prediction_lines(comparison: Comparison) -> list[str]:
    """A line a fine-tuning: a predicted label for each test example, null for a word cut off."""
    names: list[str | None] = [*comparison.setting.task.label_names, None]
    tagged = comparison.setting.task.kind == "tagging"
    lines = []
    for result in comparison.results:
        found = [[names[label] for label in labels] for labels in result.outcome.predictions]
        entry = {
            "model": result.model,
            "path": result.path,
            "labels": result.labels,
            "seed": result.seed,
            "predictions": found if tagged else [labels[0] for labels in found],
        }
        lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
    return lines
