"""Sums over the steps since the last line of metrics, and what a run takes of the machine."""

import contextlib
import resource
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from train.data.collate import MicroBatch
from train.engine.process_group import Ranks
from train.engine.totals import StepTotals
from train.model.flops import FlopCounter, PeakRate
from train.model.forward import LossSums


def memory_bytes(device: torch.device) -> int:
    """The most memory that this rank has used: of the GPU, or of the process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class TrainingMeter:
    """Sums over the steps since the last line of metrics.

    Losses and correct predictions are this rank's until `means` adds the ranks'; counts come from
    the step's own all-reduce.

    Args:
        ranks: the run's.
        flops: of a micro-batch.
        peak: what the device can do.
        datasets: names of what is mixed; of several, each has its own loss and share.
    """

    steps: int
    """How many there were."""

    def __init__(
        self,
        ranks: Ranks,
        flops: FlopCounter,
        peak: PeakRate,
        datasets: Sequence[str] = ("data",),
    ) -> None:
        self._ranks = ranks
        self._names = datasets
        self._flops_of = flops
        self._peak = peak
        self.clear()

    def clear(self) -> None:
        """Start over, now."""
        self.steps = 0
        self._sums = torch.zeros(3, dtype=torch.float64, device=self._ranks.device)
        mixed = len(self._names) if len(self._names) > 1 else 0
        self._losses = torch.zeros(mixed, dtype=torch.float64, device=self._ranks.device)
        self._counts = np.zeros((mixed, 2))  # masked and real tokens of each dataset
        self._flops = self._waited = 0.0
        self._masked = self._pairs = self._tokens = self._rows = 0.0
        self._since = time.perf_counter()

    def add_batch(self, batch: MicroBatch, sums: LossSums, source: int = 0) -> Tensor:
        """Take in this rank's micro-batch, of the dataset of that number in a mixture.

        Returns:
            Its loss, a scalar without a gradient.
        """
        loss_sum, pairs = sums.loss_sum.detach(), sums.pair_loss_sum
        pair_sum = torch.zeros_like(loss_sum) if pairs is None else pairs.detach()
        parts = [loss_sum, sums.correct.sum(), pair_sum]
        self._sums += torch.stack([part.double() for part in parts])
        if len(self._losses):
            self._losses[source] += loss_sum
            self._counts[source] += len(batch.labels), batch.tokens
        self._flops += self._flops_of(batch)
        return loss_sum + pair_sum

    def add_wait(self, seconds: float) -> None:
        """Take in how long this rank waited for data."""
        self._waited += seconds

    def add_step(self, totals: StepTotals) -> None:
        """Take in a finished step's totals over ranks."""
        self.steps += 1
        self._masked += totals.masked
        self._pairs += totals.pairs
        self._tokens += totals.tokens
        self._rows += totals.rows

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of validations and checkpoints out of the speed."""
        start = time.perf_counter()
        yield
        self._since += time.perf_counter() - start

    def means(self) -> dict[str, float]:
        """What the steps since the last call were like, over all ranks; starts over."""
        seconds = max(time.perf_counter() - self._since, 1e-9)
        ranks = self._ranks
        own = [*self._losses.tolist(), *self._counts.flatten().tolist()]
        sums = ranks.sum([*self._sums.tolist(), self._flops, self._waited, *own])
        loss, correct, pair_loss, flops, waited, *by_dataset = sums
        values = {
            "loss": loss / max(self._masked, 1.0),
            "accuracy": correct / max(self._masked, 1.0),
            "tokens_per_second": self._tokens / seconds,
            "samples_per_second": self._rows / seconds,
            "mfu": self._peak.share(flops / seconds / ranks.world_size),
            "data_wait": waited / seconds / ranks.world_size,
            "memory_bytes": float(memory_bytes(ranks.device)),
        }
        if pair_loss:
            values["pair_loss"] = pair_loss / self._pairs
        mixed = len(self._losses)
        counts = np.reshape(by_dataset[mixed:], (mixed, 2))
        for name, of_loss, (masked, tokens) in zip(self._names, by_dataset, counts, strict=False):
            values[f"loss_{name}"] = of_loss / max(masked, 1.0)
            values[f"share_{name}"] = tokens / max(self._tokens, 1.0)
        self.clear()
        return values
