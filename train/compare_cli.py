"""`python -m train compare`: fine-tune models on one task, and say what is shown."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from preprocess.command_line import in_panels
from preprocess.console import console, warn
from preprocess.errors import WholewordError
from train import panels
from train.evaluate.compare import (
    LEARNING_RATES,
    CompareOptions,
    Result,
    Setting,
    compare,
    prepare,
)
from train.evaluate.run_store import Origin
from train.evaluate.task_file import Columns
from train.report.comparison import PAGE, read_report, write_comparison
from train.report.comparison_table import comparison_table
from train.report.progress import silence_libraries

_RATES = ",".join(f"{rate:g}" for rate in LEARNING_RATES)


def compare_command(
    task: Annotated[
        Path,
        typer.Option(help="Labelled texts: .jsonl, .csv, .tsv; tagged words: .conll, .bio, .txt."),
    ],
    models: Annotated[
        list[str],
        typer.Option(
            help="What to compare, the first being what others are measured against: PATH or "
            "NAME=PATH,PATH,... (pretraining seeds); folders, hub ids, random:bert-tiny, "
            "random:FOLDER. Several with spaces between, or repeated."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the report.")] = Path(
        "comparison"
    ),
    test: Annotated[
        Path | None, typer.Option(help="Test file; else a fifth of the texts, by hash.")
    ] = None,
    labels: Annotated[
        list[str], typer.Option(help="Numbers of labelled texts, with commas, or all.")
    ] = ["100,1000,all"],  # noqa: B006
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Fine-tunings of each model.")] = 5,
    text_column: Annotated[str, typer.Option(help="Column of the text.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column of the label.")] = "label",
    pair_column: Annotated[
        str | None, typer.Option(help="Column of the second text, for a task of pairs.")
    ] = None,
    learning_rates: Annotated[
        list[str], typer.Option(help="Rates that the validation part chooses from.")
    ] = [_RATES],  # noqa: B006
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10_000,
            help="Passes of each fine-tuning over its labels; else as many as make 300 steps, "
            "between 5 and 30.",
        ),
    ] = None,
    max_length: Annotated[
        int, typer.Option(min=8, max=1 << 20, help="Tokens at which longer texts are cut.")
    ] = 128,
    tokenizer: Annotated[
        str | None, typer.Option(help="Folder or hub id, for models that bring none.")
    ] = None,
    seen_in: Annotated[
        list[Path], typer.Option(help="Shards whose documents are left out of the test part.")
    ] = [],  # noqa: B006
    reuse: Annotated[
        list[Path],
        typer.Option(help="Other comparisons, whose fine-tunings are not done again."),
    ] = [],  # noqa: B006
    trust_remote_code: Annotated[
        bool,
        typer.Option("--trust-remote-code", help="Run Python code that a hub model brings along."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Fine-tune models on your task the same way, and say which is better and how sure that is."""
    silence_libraries()
    options = CompareOptions(
        task=task,
        models=tuple(models),
        output=output,
        test=test,
        labels=split_commas(labels),
        seeds=seeds,
        columns=Columns(text_column, label_column, pair_column),
        learning_rates=_read_rates(learning_rates),
        epochs=epochs,
        max_length=max_length,
        tokenizer=tokenizer,
        seen_in=tuple(seen_in),
        trust_remote_code=trust_remote_code,
        reuse=tuple(reuse),
    )
    setting = prepare(options)
    report = read_report(output)
    if report is None:
        report = _do(setting, as_json)
    elif not as_json:
        console.print(f"{output}: this comparison is finished", markup=False)
    if as_json:
        print(json.dumps(report, ensure_ascii=False, indent=2))
        return
    console.print(comparison_table(report, console.width if console.is_terminal else None))
    for line in report["sentences"]:
        console.print(line, markup=False)
    for line in report["notes"]:
        console.print(f"note: {line}", markup=False)
    console.print(f"{output / PAGE} has the whole of it", markup=False)


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("compare", cls=in_panels(panels.COMPARE_PANELS), epilog=panels.COMPARE_EXAMPLES)(
        compare_command
    )


def _do(setting: Setting, quiet: bool) -> dict[str, Any]:
    """Compare and write the report; with `quiet`, the account goes to standard error."""
    target = Console(stderr=True, highlight=False, soft_wrap=True) if quiet else console
    counts = setting.split.counts()
    target.print(
        f"{setting.task.path}: train {counts['train']:,}, validation {counts['validation']:,}, "
        f"test {counts['test']:,} texts",
        markup=False,
    )
    if setting.task.empty:
        warn(f"{setting.task.path}: {setting.task.empty:,} examples without a text are left out")
    if counts["copies"]:
        warn(
            f"{setting.task.path}: {counts['copies']:,} copies of other texts are left out, "
            f"{counts['contradictions']:,} of them with another label"
        )
    if counts["in_test_file"] or counts["seen"]:
        warn(
            f"{setting.task.path}: left out are {counts['in_test_file']:,} training texts that "
            f"stand in the test file, and {counts['seen']:,} test texts that stand in --seen-in"
        )
    several = {c.name for c in setting.contenders if len(c.paths) > 1}
    listener = _Account(target, several)
    try:
        comparison = compare(setting, listener)
    finally:
        listener.close()
    if setting.options.reuse:
        target.print(f"{listener.reused:,} of them were taken from --reuse", markup=False)
    return write_comparison(comparison)


class _Account:
    """Tells how far a comparison is: a bar on a terminal, a line a run elsewhere."""

    def __init__(self, target: Console, several: set[str]) -> None:
        self._console = target
        self._several = several  # contenders whose models a line tells apart
        self._began = time.monotonic()
        self._left = self._done = 0.0
        self._runs = self._ended = self.reused = 0
        self._progress: Progress | None = None
        self._bar = TaskID(0)

    def begin(self, cost: float, runs: int) -> None:
        self._left, self._runs = cost, runs
        self._began = time.monotonic()
        if self._console.is_terminal:
            columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._progress = Progress(*columns, console=self._console)
            self._bar = self._progress.add_task("", total=runs)
            self._progress.start()
        else:  # the first line can be minutes away
            self._console.print(f"{runs:,} fine-tunings and fits of n-grams, a line each:")

    def advance(self, cost: float) -> None:
        self._left -= cost
        self._done += cost
        if self._progress is not None:
            self._progress.update(self._bar, description=self._time_left())

    def finish(self, result: Result, origin: Origin, cost: float) -> None:
        self._left -= cost  # what early stopping has saved, too
        self._ended += 1
        if self._progress is not None:
            self._progress.update(self._bar, completed=self._ended, description=self._time_left())
        self.reused += origin == "reused"
        if origin != "made":
            return
        rate = "" if result.learning_rate is None else f", rate {result.learning_rate:g}"
        path = f" ({result.path})" if result.model in self._several else ""
        line = (
            f"{self._ended} of {self._runs}: {result.model}{path}, {result.labels:,} labels, seed "
            f"{result.seed}{rate}: validation accuracy {result.outcome.validation_accuracy:.1%}, "
            f"test accuracy {result.outcome.accuracy:.1%}"
        )
        if self._progress is None:
            line = f"{line} ({self._time_left()})"
        self._console.print(line, markup=False)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()

    def _time_left(self) -> str:
        if not self._done:
            return "time left unknown"
        seconds = (time.monotonic() - self._began) * max(self._left, 0.0) / self._done
        if seconds < 90:
            return f"about {max(seconds, 0):.0f} s left"
        return (
            f"about {seconds / 60:.0f} min left"
            if seconds < 5400
            else f"about {seconds / 3600:.1f} h left"
        )


def split_commas(values: list[str]) -> tuple[str, ...]:
    """What stands between commas in several values of an option."""
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())


def _read_rates(values: list[str]) -> tuple[float, ...]:
    rates = []
    for text in split_commas(values):
        try:
            rate = float(text)
        except ValueError:
            rate = 0.0
        if not 0 < rate < 1:
            raise WholewordError(f"--learning-rates {text}: not a rate; write such as 5e-5,1e-4")
        rates.append(rate)
    if not rates:
        raise WholewordError("--learning-rates: names no rate; write such as 5e-5,1e-4")
    return tuple(dict.fromkeys(rates))
