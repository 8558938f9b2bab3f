"""The table of a comparison, readable on a terminal of any width, and whole where there is none."""

import re
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table

from train.evaluate import floor
from train.report.comparison_text import format_difference

_GAP = 3
"""Columns between two cells."""
_EDGES = 2
_LEAST_NAME = 12


def comparison_table(report: dict[str, Any], width: int | None) -> Table:
    """Accuracy, mean and spread, and the difference to the first model, as wide as it has to be.

    Where `width` is too small, macro-F1 goes first, then the verdict goes under the interval, then
    models' names are folded; no number is ever cut.

    Args:
        report: of `make_report`.
        width: the terminal's columns; None for a file or a pipe, which take any width.
    """
    first = report["summary"][0]["model"]
    name_width = max(cell_len(line["model"]) for line in report["summary"])
    for with_f1, beside in ((True, True), (False, True), (False, False)):
        rest = _columns(report, first, with_f1, beside)
        taken = _EDGES + sum(_width(column) + _GAP for column in rest)
        if width is None or taken + name_width <= width:
            break
    room = name_width if width is None else max(width - taken, _LEAST_NAME)
    return _fill(report, rest, taken, min(name_width, room))


def _columns(report: dict[str, Any], first: str, with_f1: bool, beside: bool) -> list[list[str]]:
    """The cells of every column but the models', each with its heading first."""
    found = {(d["model"], d["labels"]): d for d in report["differences"] if d["baseline"] == first}
    columns: list[list[str]] = [["labels"], ["accuracy"]]
    if with_f1:
        columns.append(["macro-F1"])
    columns.append([against(first)])
    previous = None
    for line in report["summary"]:
        cells = [
            f"{line['labels']:,}" if line["labels"] != previous else "",
            format_spread(line["accuracy_mean"], line["accuracy_sd"]),
        ]
        if with_f1:
            cells.append(f"{100 * line['macro_f1_mean']:.1f}")
        cells.append(_difference(found.get((line["model"], line["labels"])), beside))
        for column, cell in zip(columns, cells, strict=True):
            column.append(cell)
        previous = line["labels"]
    return columns


def against(first: str) -> str:
    """A heading for differences to the first model, by its name where that is short."""
    return f"against {first if cell_len(first) <= _LEAST_NAME else 'the first'}"


def _width(cells: list[str]) -> int:
    return max(cell_len(line) for cell in cells for line in cell.split("\n"))


def _difference(difference: dict[str, Any] | None, beside: bool) -> str:
    """A difference, its interval and what it shows."""
    if difference is None:
        return ""
    interval = format_difference(difference, digits=1)
    return f"{interval:<20}{' ' if beside else chr(10)}{difference['verdict']}"


def _fill(report: dict[str, Any], rest: list[list[str]], taken: int, name_width: int) -> Table:
    title = f"test accuracy in %, {report['splits']['test']:,} texts"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.width = max(taken + name_width, cell_len(title))  # else a pipe would have 80 columns
    labels, *others = rest
    table.add_column(labels[0], justify="right", no_wrap=True)
    table.add_column("model", no_wrap=True)
    for column in others[:-1]:
        table.add_column(column[0], justify="right", no_wrap=True)
    table.add_column(escape(others[-1][0]), no_wrap=True)
    for number, line in enumerate(report["summary"], start=1):
        if number > 1 and labels[number]:
            table.add_section()
        cells = [escape(column[number]) for column in others]
        name = escape(fold_path(line["model"], name_width))
        is_floor = line["model"] in floor.NAMES
        table.add_row(labels[number], name, *cells, style="dim" if is_floor else "")
    return table


def fold_path(path: str, width: int) -> str:
    """A path over as many lines as it takes, cut behind slashes where it can be."""
    lines = [""]
    for part in re.findall(r"[^/:]*[/:]|[^/:]+", path):
        if cell_len(lines[-1] + part) > width and lines[-1]:
            lines.append("")
        for letter in part:
            if cell_len(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return "\n".join(lines)


def format_spread(mean: float, sd: float | None) -> str:
    """Mean and standard deviation in percent."""
    return f"{100 * mean:.1f}" + ("" if sd is None else f" ± {100 * sd:.1f}")
