"""The page of a comparison: one HTML file, for light and dark, wide screens and narrow ones."""

import base64
from html import escape
from typing import Any

from train.evaluate import floor
from train.report.comparison_text import format_difference

_STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #5c6370; --ground: #fff; --line: #d9dce1;
  --card: #f5f6f8; --better: #00694d; --worse: #b03a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --soft: #9aa1ad; --ground: #16181c;
  --line: #363a42; --card: #1f2228; --better: #2fd0a0; --worse: #ff8c42; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 52rem; padding: 1.2rem 1rem 3rem; background: var(--ground);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.45rem; line-height: 1.25; margin: .4rem 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p, li { margin: .4rem 0; }
ul { padding-left: 1.2rem; }
.shown { background: var(--card); border-radius: .5rem; padding: .5rem 1rem; font-size: 1.05rem; }
.soft { color: var(--soft); }
img { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; font-size: .93rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
.number { text-align: right; white-space: nowrap; }
.better { color: var(--better); } .worse { color: var(--worse); }
tr.floor td { color: var(--soft); font-style: italic; }
@media (max-width: 34rem) { body { font-size: 15px; padding: .8rem .7rem 2rem; }
  th, td { padding: .3rem .3rem; } table { font-size: .8rem; } .number { white-space: normal; } }
"""


def comparison_page(report: dict[str, Any], pictures: dict[tuple[bool, bool], bytes]) -> str:
    """The page; `pictures` are the picture as PNG, by whether it is dark, and narrow."""
    task = report["task"]
    title = f"Compared on {task['path']}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<div class="shown">{_list(report["sentences"])}</div>
{_picture(pictures)}
<p class="soft">{_bars(report)}</p>
<h2>Accuracy and macro-F1 (%)</h2>
{_summary(report)}
<h2>Differences of accuracy (points, 95% interval)</h2>
{_differences(report)}
<h2>Before you believe it</h2>
{_list(report["notes"]) if report["notes"] else "<p>Nothing to add.</p>"}
<h2>How it was measured</h2>
{_list(method_of(report))}
</body>
</html>
"""


def _bars(report: dict[str, Any]) -> str:
    """What the picture's bars are."""
    said = "Means; bars are one standard deviation of the runs to each side"
    if len(report["splits"]["labels"]) > 1:
        return f"{said}."
    return f"{said}, and the 95% interval of a difference."


def method_of(report: dict[str, Any]) -> list[str]:
    """The protocol, in words."""
    splits, options, versions = report["splits"], report["options"], report["versions"]
    source = splits["test_file"] or "the task file, chosen by a hash of the text"
    rates = ", ".join(f"{rate:g}" for rate in options["learning_rates"])
    return [
        f"{splits['test']:,} test texts from {source}; {splits['validation']:,} validation texts; "
        f"{splits['train']:,} texts to take labels from. A seed takes the same texts for every "
        "model, of every class its share; fewer labels are a part of more.",
        "The usual head of transformers on the model, AdamW, linear warm-up and decay, early "
        "stopping by the validation part; the same for every model.",
        f"Learning rates {rates}, tried with the first seed; the validation part chose, for each "
        f"model and number of labels. {options['seeds']} seeds. The test part was used once.",
        f"The floor ({floor.name_of(report['task']['kind'])}): {report['task']['floor']}; the same "
        "texts and seeds.",
        f"Intervals: a bootstrap of {versions['resamples']:,} draws over pretraining models, "
        "fine-tuning seeds (paired) and test texts (paired) together. Several are looked at, and "
        "none is corrected for that.",
        ", ".join(f"{name} {value}" for name, value in versions.items() if name != "resamples")
        + ".",
    ]


def _list(lines: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _picture(pictures: dict[tuple[bool, bool], bytes]) -> str:
    data = {
        key: f"data:image/png;base64,{base64.b64encode(png).decode()}"
        for key, png in pictures.items()
    }
    narrow, dark = "(max-width: 600px)", "(prefers-color-scheme: dark)"
    return (
        f'<picture><source srcset="{data[True, True]}" media="{narrow} and {dark}">'
        f'<source srcset="{data[False, True]}" media="{narrow}">'
        f'<source srcset="{data[True, False]}" media="{dark}">'
        f'<img src="{data[False, False]}" alt="Test accuracy of every model"></picture>'
    )


def _summary(report: dict[str, Any]) -> str:
    rows = []
    for line in report["summary"]:
        is_floor = line["model"] in floor.NAMES
        cells = [
            f'<td class="number">{line["labels"]:,}</td>',
            f"<td>{escape(line['model'])}</td>",
            f'<td class="number">{_spread(line["accuracy_mean"], line["accuracy_sd"])}</td>',
            f'<td class="number">{_spread(line["macro_f1_mean"], line["macro_f1_sd"])}</td>',
            f'<td class="number">{line["runs"]}</td>',
        ]
        rows.append(f"<tr{' class=floor' if is_floor else ''}>{''.join(cells)}</tr>")
    heads = (("labels", 1), ("model", 0), ("accuracy", 1), ("macro-F1", 1), ("runs", 1))
    return _table(heads, rows)


def _spread(mean: float, sd: float | None) -> str:
    return f"{100 * mean:.2f}" + ("" if sd is None else f" &plusmn; {100 * sd:.2f}")


def _differences(report: dict[str, Any]) -> str:
    rows = []
    for found in report["differences"]:
        kind = found["verdict"] if found["verdict"] in ("better", "worse") else "soft"
        rows.append(
            f'<tr><td class="number">{found["labels"]:,}</td><td>{escape(found["model"])}</td>'
            f"<td>{escape(found['baseline'])}</td>"
            f'<td class="number">{format_difference(found)}</td>'
            f'<td class="{kind}">{found["verdict"]}</td></tr>'
        )
    heads = (("labels", 1), ("model", 0), ("against", 0), ("difference", 1), ("verdict", 0))
    return _table(heads, rows)


def _table(heads: tuple[tuple[str, int], ...], rows: list[str]) -> str:
    head = "".join(
        f'<th class="number">{name}</th>' if is_number else f"<th>{name}</th>"
        for name, is_number in heads
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'
