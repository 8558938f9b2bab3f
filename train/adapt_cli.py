"""`python -m train adapt`: from labelled text to a better model, or to the word that none is."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from preprocess.command_line import in_panels
from preprocess.console import console
from preprocess.errors import WholewordError
from train import panels
from train.adapt.chain import REPORT, adapt
from train.adapt.options import MASKINGS, AdaptOptions
from train.compare_cli import split_commas
from train.evaluate.task_file import Columns
from train.report.progress import silence_libraries

_LABELS, _SEEDS = "100,1000", 5
_QUICK_LABELS, _QUICK_SEEDS = "200", 3


def adapt_command(
    task: Annotated[Path, typer.Option(help="Labelled texts, as for compare.")],
    model: Annotated[
        str,
        typer.Option(help="A folder or hub id to continue from, or a preset such as bert-tiny."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of everything that is made.")
    ] = Path("adapted"),
    text: Annotated[
        list[str], typer.Option(help="More text of the domain, as for build-shards --input.")
    ] = [],  # noqa: B006
    general: Annotated[
        list[str],
        typer.Option(help="Text whose ability is to be kept: a fifth of what is read."),
    ] = [],  # noqa: B006
    control: Annotated[
        list[str], typer.Option(help="Text of another domain, for a model of the same steps.")
    ] = [],  # noqa: B006
    masking: Annotated[str, typer.Option(help="words, tokens or both.")] = "both",
    test: Annotated[
        Path | None, typer.Option(help="Test file; else a fifth of the texts, by hash.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Numbers of labelled texts, with commas, or all.",
            show_default=f"{_LABELS}; {_QUICK_LABELS} with --quick",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="Fine-tunings of each model.",
            show_default=f"{_SEEDS}; {_QUICK_SEEDS} with --quick",
        ),
    ] = None,
    pretraining_seeds: Annotated[
        int, typer.Option(min=1, max=100, help="Pretrainings of each masking.")
    ] = 1,
    tokenizer: Annotated[
        str | None, typer.Option(help="Folder or hub id, for a preset; else one is trained.")
    ] = None,
    passes: Annotated[
        float | None, typer.Option(min=0.001, help="Over the domain's text; else by the rule.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of pretraining; else by the rule.")
    ] = None,
    max_length: Annotated[
        int, typer.Option(min=16, max=1 << 16, help="Tokens of a row, special ones included.")
    ] = 128,
    text_column: Annotated[str, typer.Option(help="Column of the text.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column of the label.")] = "label",
    pair_column: Annotated[
        str | None, typer.Option(help="Column of the second text, for a task of pairs.")
    ] = None,
    transductive: Annotated[
        bool, typer.Option("--transductive", help="Pretrain on the texts of the test part too.")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="About half an hour on two cores: less pretraining, 200 labels."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON at the end.")] = False,
) -> None:
    """Continue a model on your task's text, and say whether the task gains by it."""
    silence_libraries()
    if masking != "both" and masking not in MASKINGS:
        raise WholewordError(f"--masking {masking}: unknown; write words, tokens or both")
    if learning_rate is not None and not 0 < learning_rate < 1:
        raise WholewordError(f"--learning-rate {learning_rate:g}: not a rate; write such as 1e-4")
    options = AdaptOptions(
        task=task,
        model=model,
        output=output,
        test=test,
        text=tuple(text),
        general=tuple(general),
        control=tuple(control),
        maskings=tuple(MASKINGS) if masking == "both" else (masking,),
        labels=split_commas([labels or (_QUICK_LABELS if quick else _LABELS)]),
        seeds=seeds or (_QUICK_SEEDS if quick else _SEEDS),
        pretraining_seeds=pretraining_seeds,
        tokenizer=tokenizer,
        passes=passes,
        learning_rate=learning_rate,
        max_length=max_length,
        columns=Columns(text_column, label_column, pair_column),
        transductive=transductive,
        quick=quick,
    )
    result = adapt(options, _say_aside if as_json else _say)
    if as_json:
        print(json.dumps(result, ensure_ascii=False, indent=2))
        return
    console.print(_loss_table(result))
    console.print(f"{output / 'report' / 'report.html'} has the comparison, {output / REPORT} this")
    console.print(result["sentence"], markup=False, style="bold")


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("adapt", cls=in_panels(panels.ADAPT_PANELS), epilog=panels.ADAPT_EXAMPLES)(
        adapt_command
    )


def _say(line: str) -> None:
    console.print(line, markup=False, style="dim" if line.startswith("$ ") else "")


def _say_aside(line: str) -> None:
    print(line, file=sys.stderr)


def _loss_table(result: dict[str, Any]) -> Table:
    """Masked loss before and after, by text."""
    table = Table(title="masked loss", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("model", "text"):
        table.add_column(name)
    for name in ("seed", "before", "after"):
        table.add_column(name, justify="right")
    for row in result["masked_losses"]:
        table.add_row(
            row["model"],
            row["text"],
            str(row["seed"]),
            f"{row['before']:.3f}",
            f"{row['after']:.3f}",
        )
    return table
