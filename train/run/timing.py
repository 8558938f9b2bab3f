"""Clocks of a run: how long data kept it waiting, when to save, when the time is over."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from train.options import RunOptions, seconds

Item = TypeVar("Item")


class Clock:
    """Says when --save-time and --max-train-time have gone by."""

    def __init__(self, options: RunOptions) -> None:
        self._save_every = seconds("--save-time", options.save_time)
        self._end = time.monotonic() + seconds("--max-train-time", options.max_train_time)
        self.saved()

    def saved(self) -> None:
        """Count the time to the next checkpoint from now."""
        self._saved = time.monotonic()

    @property
    def save_due(self) -> bool:
        """Whether the last checkpoint is older than --save-time."""
        return time.monotonic() - self._saved >= self._save_every

    @property
    def over(self) -> bool:
        """Whether --max-train-time has gone by."""
        return time.monotonic() >= self._end


def timed(items: Iterable[Item]) -> Iterator[tuple[Item, float]]:
    """Every item, with the seconds that it took to come."""
    iterator = iter(items)
    while True:
        start = time.perf_counter()
        try:
            item = next(iterator)
        except StopIteration:
            return
        yield item, time.perf_counter() - start
