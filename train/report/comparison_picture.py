"""The picture of a comparison.

Of several numbers of labels it shows accuracy against them, a line a contender; of one, a row a
contender: its accuracy, and its difference to the first one with the interval.
"""

import io
from pathlib import Path
from typing import Any

from train.evaluate import floor
from train.report.comparison_table import against, fold_path
from train.report.comparison_text import format_difference
from train.report.drawing import drawing

_COLOURS = {  # Okabe and Ito's, which colour-blind readers tell apart; light and dark pages
    False: ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6D00", "#56B4E9", "#333333"),
    True: ("#56B4E9", "#FF8C42", "#2FD0A0", "#E9A3CB", "#F0E442", "#8FB8FF", "#DDDDDD"),
}
_MARKERS = "osD^vPX"
_NAME_WIDTH = 24  # letters of a row's name, then it is folded


def draw_comparison(report: dict[str, Any], dark: bool, narrow: bool = False) -> bytes:
    """The picture as PNG, with a bar of one standard deviation to each side of every mean.

    Args:
        report: of `make_report`.
        dark: for a dark page.
        narrow: for the screen of a telephone: half as wide, one plot under the other.
    """
    draw = _draw_lines if len(report["splits"]["labels"]) > 1 else _draw_rows
    with drawing(**_style(dark)) as pyplot:
        figure = draw(pyplot, report, dark, narrow)
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=144, format="png", metadata={"Software": None})
        pyplot.close(figure)
    return buffer.getvalue()


def _style(dark: bool) -> dict[str, Any]:
    ink, ground = ("#dddddd", "#16181c") if dark else ("#222222", "#ffffff")
    keys = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    style: dict[str, Any] = dict.fromkeys(keys, ink)
    return {**style, "figure.facecolor": ground, "axes.facecolor": ground}


def _names(report: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(line["model"] for line in report["summary"]))


def _look(name: str, number: int, dark: bool) -> dict[str, Any]:
    """Colour and marker of a contender or of the floor."""
    if name in floor.NAMES:
        return {"color": "#888888", "marker": "x"}
    colours = _COLOURS[dark]
    return {"color": colours[number % len(colours)], "marker": _MARKERS[number % len(_MARKERS)]}


def _draw_rows(pyplot: Any, report: dict[str, Any], dark: bool, narrow: bool = False) -> Any:
    """One number of labels: accuracies on the left, differences to the first on the right."""
    names, labels = _names(report), report["splits"]["labels"][0]
    height = 1.5 + 0.62 * len(names)
    grid, size = ((2, 1), (4.6, 2 * height)) if narrow else ((1, 2), (9.0, height))
    figure, (left, right) = pyplot.subplots(*grid, sharey=True, figsize=size, layout="constrained")
    task = Path(report["task"]["path"]).name
    figure.suptitle(
        f"{task}, {labels:,} labels, {report['splits']['test']:,} test texts", parse_math=False
    )
    for row, name in enumerate(names):
        line = next(line for line in report["summary"] if line["model"] == name)
        look = _look(name, row, dark) | {"capsize": 3, "linestyle": ""}
        mean, sd = 100 * line["accuracy_mean"], 100 * (line["accuracy_sd"] or 0.0)
        left.errorbar([mean], [row], xerr=[sd], **look)
        _write(left, f"{mean:.1f}", mean, row)
        found = _difference(report, name)
        if found is None:
            continue
        middle, low, high = (100 * found[key] for key in ("accuracy", "low", "high"))
        right.errorbar([middle], [row], xerr=[[middle - low], [high - middle]], **look)
        _write(right, format_difference(found, digits=1), middle, row)
    left.set_yticks(range(len(names)), [_describe(report, name) for name in names])
    left.set_ylim(len(names) - 0.5, -0.65)  # the first on top, with room for what is written above
    right.axvline(0, color="#888888", linewidth=1)
    left.set_xlabel("test accuracy (%), ± sd of the runs")
    fold = "\n" if narrow else " "
    right.set_xlabel(f"{against(names[0])}:{fold}difference (points, 95% interval)")
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.25)
        axes.margins(x=0.18)
    return figure


def _write(axes: Any, text: str, x: float, row: int) -> None:
    ground = {"facecolor": axes.get_facecolor(), "edgecolor": "none", "pad": 0.5}
    place = {"textcoords": "offset points", "ha": "center", "fontsize": "small", "bbox": ground}
    axes.annotate(text, (x, row), (0, 7), **place)


def _difference(report: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Of a contender or the floor to the first contender; None for that one itself."""
    first = _names(report)[0]
    for found in report["differences"]:
        if (found["model"], found["baseline"]) == (name, first):
            return dict(found)
        if name in floor.NAMES and (found["model"], found["baseline"]) == (first, name):
            turned = {"accuracy": "accuracy", "low": "high", "high": "low"}
            return {key: -found[other] for key, other in turned.items()}
    return None


def _describe(report: dict[str, Any], name: str) -> str:
    """A contender's name, folded, and what it is where the name does not say so."""
    paths = report["options"]["models"].get(name, [])
    folded = fold_path(name, _NAME_WIDTH).removeprefix("_")
    if name in floor.NAMES:
        return f"{folded} (floor)"
    if paths and name not in paths and all(path.startswith("random:") for path in paths):
        return f"{folded}\n(weights drawn anew)"
    return f"{folded}\n({len(paths)} models)" if len(paths) > 1 else folded


def _draw_lines(pyplot: Any, report: dict[str, Any], dark: bool, narrow: bool = False) -> Any:
    """Several numbers of labels: accuracy against them."""
    figure, axes = pyplot.subplots(figsize=(4.6 if narrow else 7.0, 4.2))
    names, labels = _names(report), report["splits"]["labels"]
    for number, name in enumerate(names):
        _line(axes, report, name, number, len(names), dark)
    axes.set_xscale("log")
    axes.set_xticks(labels, [f"{count:,}" for count in labels])
    axes.minorticks_off()
    axes.set_xlim(labels[0] / 1.35, labels[-1] * 1.35)
    axes.set_xlabel("labelled texts")
    axes.set_ylabel("test accuracy (%)")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.tight_layout()
    return figure


def _line(
    axes: Any, report: dict[str, Any], name: str, number: int, total: int, dark: bool
) -> None:
    """One contender; apart from the others by a few percent of x, so that bars do not hide."""
    lines = [line for line in report["summary"] if line["model"] == name]
    apart = 1.03 ** (number - (total - 1) / 2)
    is_floor = name in floor.NAMES
    axes.errorbar(
        [line["labels"] * apart for line in lines],
        [100 * line["accuracy_mean"] for line in lines],
        yerr=[100 * (line["accuracy_sd"] or 0.0) for line in lines],
        label=f"{name} (floor)" if is_floor else name.removeprefix("_"),
        linestyle="--" if is_floor else "-",
        capsize=3,
        **_look(name, number, dark),
    )
