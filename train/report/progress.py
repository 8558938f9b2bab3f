"""The console of a run: a progress bar on a terminal, plain lines elsewhere."""

import atexit
import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from train.evaluate.evaluation import Scores, format_perplexity


class Console:
    """Where rank 0 talks: a progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, total: int, first: bool) -> None:
        self._first = first
        self._progress: Progress | None = None
        if first and sys.stdout.isatty():
            self._progress = Progress(*bar_columns(total))
            self._task = self._progress.add_task("", total=total)
            self._progress.start()
            atexit.register(self._progress.stop)  # an error must not leave the cursor hidden

    def say(self, line: str) -> None:
        """Print a line, above the bar; a reader that has gone does not end the run."""
        try:
            if self._progress is not None:
                self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)
            elif self._first:
                print(line, flush=True)
        except OSError:  # a broken pipe, a closed terminal: metrics.jsonl has the account
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def advance(self, step: int, values: dict[str, float]) -> None:
        """Show where the run is, and its metrics: on the bar, or as a line."""
        if self._progress is not None:
            self._progress.update(self._task, completed=step, description=bar_line(values))
        else:
            self.say(f"step {step}: {train_line(values)}")

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._progress is not None:
            self._progress.stop()


@contextlib.contextmanager
def show_progress(what: str, total: int) -> Iterator[Callable[[Any, int], Any]]:
    """A bar on standard error while something is counted; a terminal alone has one.

    Yields:
        A function that hands back what it is given, and counts it.
    """
    target = RichConsole(stderr=True)
    columns = (BarColumn(20), MofNCompleteColumn(), TextColumn(what), TimeRemainingColumn())
    with Progress(*columns, console=target, transient=True, disable=not target.is_terminal) as bar:
        task = bar.add_task("", total=total)

        def advance(item: Any, count: int) -> Any:
            bar.advance(task, count)
            return item

        yield advance


def bar_columns(total: int) -> list[ProgressColumn]:
    """The bar, steps, time left and metrics; where a terminal is narrow, metrics are cut first."""

    def fixed(width: int) -> Column:
        return Column(min_width=width, no_wrap=True)

    return [
        BarColumn(12, table_column=fixed(12)),
        MofNCompleteColumn(table_column=fixed(2 * len(str(total)) + 1)),
        TimeRemainingColumn(table_column=fixed(7)),
        TextColumn("{task.description}"),
    ]


def bar_line(values: dict[str, float]) -> str:
    """The metrics that fit beside a bar on 80 columns."""
    return (
        f"loss {values['loss']:.3f}, {values['tokens_per_second']:,.0f} tokens/s, "
        f"MFU {values['mfu']:.0%}, wait {values['data_wait']:.0%}"
    )


def train_line(values: dict[str, float]) -> str:
    """One line of training metrics for people."""
    norm = f", gradient {values['gradient_norm']:.2f}" if "gradient_norm" in values else ""
    pairs = f", pair loss {values['pair_loss']:.4f}" if "pair_loss" in values else ""
    return (
        f"loss {values['loss']:.4f}, accuracy {values['accuracy']:.1%}{pairs}, "
        f"rate {values['learning_rate']:.2e}{norm}, {values['tokens_per_second']:,.0f} tokens/s, "
        f"MFU {values['mfu']:.0%}, data wait {values['data_wait']:.1%}"
    )


def scores_line(scores: Scores, name: str) -> str:
    """One line of validation scores for people."""
    return (
        f"{name} loss {scores.loss:.4f}, perplexity {format_perplexity(scores.perplexity)}, "
        f"masked accuracy {scores.accuracy:.1%}, whole words {scores.word_accuracy:.1%}"
    )


def frequencies_line(scores: Scores) -> str:
    """What token frequencies alone would reach on the rows of a validation."""
    return (
        f"(token frequencies alone: loss {scores.unigram_loss:.4f}, "
        f"accuracy {scores.commonest_share:.1%})"
    )


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 step, 1,200 steps."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def silence_libraries() -> None:
    """Keep libraries from talking over the run's own account."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
