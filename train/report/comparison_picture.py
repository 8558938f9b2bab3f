"""The picture of a comparison: accuracy against the number of labels, a line a contender."""

import io
from pathlib import Path
from typing import Any

from preprocess.files import write_bytes
from train.evaluate import floor

_COLOURS = {  # Okabe and Ito's, which colour-blind readers tell apart; light and dark pages
    False: ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6D00", "#56B4E9", "#333333"),
    True: ("#56B4E9", "#FF8C42", "#2FD0A0", "#E9A3CB", "#F0E442", "#8FB8FF", "#DDDDDD"),
}
_MARKERS = "osD^vPX"


def draw_comparison(report: dict[str, Any], dark: bool, path: Path | None = None) -> bytes:
    """The picture as PNG, with a bar of one standard deviation to each side of every mean.

    Args:
        report: of `make_report`.
        dark: for a dark page.
        path: where to write it, too.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    ink, ground = ("#dddddd", "#16181c") if dark else ("#222222", "#ffffff")
    with pyplot.rc_context(_style(ink, ground)):
        figure, axes = pyplot.subplots(figsize=(7, 4.2))
        names = list(dict.fromkeys(line["model"] for line in report["summary"]))
        for number, name in enumerate(names):
            _line(axes, report, name, number, len(names), dark)
        axes.set_xscale("log")
        labels = report["splits"]["labels"]
        axes.set_xticks(labels, [f"{count:,}" for count in labels])
        axes.minorticks_off()
        axes.set_xlim(labels[0] / 1.35, labels[-1] * 1.35)
        axes.set_xlabel("labelled texts")
        axes.set_ylabel("test accuracy (%)")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
        figure.tight_layout()
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=144, format="png", metadata={"Software": None})
        pyplot.close(figure)
    if path is not None:
        write_bytes(path, buffer.getvalue())
    return buffer.getvalue()


def _style(ink: str, ground: str) -> dict[Any, Any]:
    keys = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    style: dict[Any, Any] = dict.fromkeys(keys, ink)
    # matplotlib's own font has no Han characters; a name may have.
    fonts = ["DejaVu Sans", "Noto Sans CJK SC", "WenQuanYi Zen Hei"]
    return {**style, "figure.facecolor": ground, "axes.facecolor": ground, "font.sans-serif": fonts}


def _line(
    axes: Any, report: dict[str, Any], name: str, number: int, total: int, dark: bool
) -> None:
    """One contender; apart from the others by a few percent of x, so that bars do not hide."""
    lines = [line for line in report["summary"] if line["model"] == name]
    apart = 1.03 ** (number - (total - 1) / 2)
    is_floor = name == floor.NAME
    axes.errorbar(
        [line["labels"] * apart for line in lines],
        [100 * line["accuracy_mean"] for line in lines],
        yerr=[100 * (line["accuracy_sd"] or 0.0) for line in lines],
        label=f"{name} (floor)" if is_floor else name.removeprefix("_"),
        color="#888888" if is_floor else _COLOURS[dark][number % len(_COLOURS[dark])],
        linestyle="--" if is_floor else "-",
        marker="x" if is_floor else _MARKERS[number % len(_MARKERS)],
        capsize=3,
    )
