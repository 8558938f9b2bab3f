"""The picture of a run: curves.png, drawn from metrics.jsonl."""

from pathlib import Path
from typing import Any

from preprocess.files import written
from train.report.log import METRICS, read_metrics

CURVES = "curves.png"


def draw_curves(folder: Path) -> Path:
    """Draw loss, accuracy, rate and speed over steps from metrics.jsonl into curves.png."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    records = read_metrics(folder / METRICS)
    train = [r for r in records if r["kind"] == "train"]
    kinds = dict.fromkeys(r["kind"] for r in records if r["kind"] not in ("train", "run"))
    validations = {kind: [r for r in records if r["kind"] == kind] for kind in kinds}
    validation = next(iter(validations.values()), [])
    figure, ((loss, accuracy), (rate, speed)) = pyplot.subplots(2, 2, figsize=(10, 7))
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        _line(axes, train, name, "training")
        for kind, scores in validations.items():
            _line(axes, scores, name, kind, marker="o")
        axes.set_ylabel(f"masked {name}" if axes is accuracy else "loss (nats)")
    for kind, scores in validations.items():
        _line(accuracy, scores, "word_accuracy", f"{kind}, whole words", marker="s")
    for axes, name in ((loss, "unigram_loss"), (accuracy, "commonest_share")):
        if validation and name in validation[0]:
            axes.axhline(
                validation[0][name], linestyle=":", color="gray", label="token frequencies"
            )
    _line(rate, train, "learning_rate", "learning rate")
    _line(speed, train, "tokens_per_second", "tokens/s")
    for axes in (loss, accuracy, rate, speed):
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        if axes.has_data():
            axes.legend()
    figure.tight_layout()
    try:
        with written(folder / CURVES) as aside:
            figure.savefig(aside, dpi=120, format="png")
    finally:
        pyplot.close(figure)
    return folder / CURVES


def _line(
    axes: Any, records: list[dict[str, Any]], name: str, label: str, marker: str = ""
) -> None:
    points = [(r["step"], r[name]) for r in records if r.get(name) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), marker=marker, label=label)
