"""The picture of a run: curves.png, drawn from metrics.jsonl."""

from pathlib import Path
from typing import Any

from preprocess.files import written
from train.report.drawing import drawing
from train.report.log import METRICS, read_metrics

CURVES = "curves.png"
_FLOORS = {"loss": "unigram_loss", "accuracy": "commonest_share"}
"""What token frequencies alone reach, by the score that it is beside."""


def draw_curves(folder: Path, model: str) -> Path:
    """Draw loss, accuracy, rate and speed over steps from metrics.jsonl into curves.png.

    Args:
        folder: the run's.
        model: what the run began from, for the title.
    """
    records = read_metrics(folder / METRICS)
    train = [r for r in records if r["kind"] == "train"]
    kinds = dict.fromkeys(r["kind"] for r in records if r["kind"] not in ("train", "run"))
    validations = {kind: [r for r in records if r["kind"] == kind] for kind in kinds}
    with drawing() as pyplot:
        figure, ((loss, accuracy), (rate, speed)) = pyplot.subplots(
            2, 2, figsize=(10, 7.6), layout="constrained"
        )
        figure.suptitle(f"{folder}, {model}", parse_math=False)
        _scores(loss, train, validations, "loss")
        _scores(accuracy, train, validations, "accuracy", percent=100)
        for kind, scores in validations.items():
            _line(accuracy, scores, "word_accuracy", f"{kind}, whole words", "s", 100)
        _line(rate, train, "learning_rate", "learning rate")
        _line(speed, train, "tokens_per_second", "tokens/s")
        rate.yaxis.set_major_formatter(lambda value, _: _spell_rate(value))
        speed.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        names = ("loss (nats)", "masked accuracy (%)", "learning rate", "tokens per second")
        for axes, name in zip((loss, accuracy, rate, speed), names, strict=True):
            axes.set_xlabel("step")
            axes.set_ylabel(name)
            axes.grid(alpha=0.3)
        handles, labels = accuracy.get_legend_handles_labels()
        if handles:  # below the panels, where it hides no line
            figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
        try:
            with written(folder / CURVES) as aside:
                figure.savefig(aside, dpi=120, format="png")
        finally:
            pyplot.close(figure)
    return folder / CURVES


def _spell_rate(value: float) -> str:
    """A learning rate as people write it: 1.75e-3."""
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}" if value else "0"


def _scores(
    axes: Any,
    train: list[dict[str, Any]],
    validations: dict[str, list[dict[str, Any]]],
    name: str,
    percent: float = 1,
) -> None:
    """A score in training and in every validation, and that of token frequencies alone."""
    _line(axes, train, name, "training", scale=percent)
    for kind, scores in validations.items():
        _line(axes, scores, name, kind, "o", percent)
    first = next(iter(validations.values()), [{}])[0]
    if first.get(_FLOORS[name]) is not None:
        axes.axhline(
            percent * first[_FLOORS[name]],
            linestyle=":",
            color="gray",
            label="token frequencies alone (no model)",
        )


def _line(
    axes: Any,
    records: list[dict[str, Any]],
    name: str,
    label: str,
    marker: str = "",
    scale: float = 1,
) -> None:
    points = [(r["step"], scale * r[name]) for r in records if r.get(name) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), marker=marker, label=label)
