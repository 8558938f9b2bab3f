"""A run's running account: sums over the steps since the last line, and the console."""

import atexit
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from torch import Tensor

from train.collate import MicroBatch
from train.evaluation import Scores, in_words
from train.flops import FlopCounter
from train.metrics import memory_bytes
from train.objective import Guesses
from train.ranks import Ranks
from train.steps import Totals


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


class Window:
    """Sums over the steps since the last line of metrics.

    Losses and right guesses are this rank's until `means` adds the ranks'; counts come from the
    step's own all-reduce.
    """

    def __init__(self, ranks: Ranks, flops: FlopCounter, peak: float) -> None:
        self._ranks = ranks
        self._flops_of = flops
        self._peak = peak
        self.clear()

    def clear(self) -> None:
        """Begin anew, now."""
        self._sums = torch.zeros(3, dtype=torch.float64, device=self._ranks.device)
        self._flops = self._waited = 0.0
        self._masked = self._pairs = self._tokens = self._rows = 0.0
        self._since = time.perf_counter()

    def add_batch(self, batch: MicroBatch, guesses: Guesses) -> Tensor:
        """Take in this rank's micro-batch; returns its loss, for the watch over it."""
        loss_sum, pairs = guesses.loss_sum.detach(), guesses.pair_loss_sum
        pair_sum = torch.zeros_like(loss_sum) if pairs is None else pairs.detach()
        parts = [loss_sum, guesses.right.sum(), pair_sum]
        self._sums += torch.stack([part.double() for part in parts])
        self._flops += self._flops_of(batch)
        return loss_sum + pair_sum

    def add_step(self, totals: Totals, waited: float) -> None:
        """Take in a step's totals over ranks, and this rank's seconds of waiting for data."""
        self._masked += totals.masked
        self._pairs += totals.pairs
        self._tokens += totals.tokens
        self._rows += totals.rows
        self._waited += waited

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of validations and checkpoints out of the speed."""
        start = time.perf_counter()
        yield
        self._since += time.perf_counter() - start

    def means(self) -> dict[str, float]:
        """What the steps since the last call were like, over all ranks; begins anew."""
        seconds = max(time.perf_counter() - self._since, 1e-9)
        ranks = self._ranks
        sums = ranks.sum([*self._sums.tolist(), self._flops, self._waited])
        loss, right, pair_loss, flops, waited = sums
        values = {
            "loss": loss / max(self._masked, 1.0),
            "accuracy": right / max(self._masked, 1.0),
            "tokens_per_second": self._tokens / seconds,
            "samples_per_second": self._rows / seconds,
            "mfu": flops / seconds / (self._peak * ranks.world_size),
            "data_wait": waited / seconds / ranks.world_size,
            "memory_bytes": float(memory_bytes(ranks.device)),
        }
        if pair_loss:
            values["pair_loss"] = pair_loss / self._pairs
        self.clear()
        return values


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


def scores_line(scores: Scores) -> str:
    """One line of validation scores for people, with what token frequencies alone would reach."""
    return (
        f"validation loss {scores.loss:.4f}, perplexity {in_words(scores.perplexity)}, "
        f"masked accuracy {scores.accuracy:.1%}, whole words {scores.word_accuracy:.1%} "
        f"(token frequencies alone: loss {scores.unigram_loss:.4f}, "
        f"accuracy {scores.commonest_share:.1%})"
    )


def engine_values(engine: Any, learning_rate: float, norm: float | None) -> dict[str, float]:
    """What DeepSpeed knows about the last step."""
    values = {"learning_rate": learning_rate}
    if norm is not None:
        values["gradient_norm"] = norm
    if engine.fp16_enabled():
        values["loss_scale"] = float(engine.optimizer.cur_scale)
    return values
