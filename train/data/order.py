"""The order of rows in an epoch: a permutation that is a pure function of (seed, epoch).

Record batches are shuffled across all shards and dealt into windows; rows are then shuffled within
their window. So reads stay local on disks and network mounts, and whoever knows (seed, epoch,
window) can start anywhere.
"""

import numpy as np

from preprocess.kernels import kernel

# What a stream of random numbers is for; the rest of its counter is the window's number.
BATCHES, ROWS, PACKS = range(3)


def raw_numbers(count: int, seed: int, epoch: int, purpose: int, window: int = 0) -> np.ndarray:
    """uint64 `[count]` from Philox4x64, whose raw stream numpy guarantees to keep."""
    key = np.array([seed & 0xFFFFFFFFFFFFFFFF, epoch], np.uint64)
    counter = np.array([0, 0, window, purpose], np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(count)


@kernel
def _shuffle(values: np.ndarray, numbers: np.ndarray) -> None:
    """Fisher and Yates, in place; the bias of a draw is below len(values) / 2**32."""
    for i in range(len(values) - 1, 0, -1):
        j = np.int64(((numbers[i] >> np.uint64(32)) * np.uint64(i + 1)) >> np.uint64(32))
        values[i], values[j] = values[j], values[i]


def permutation(count: int, seed: int, epoch: int, purpose: int, window: int = 0) -> np.ndarray:
    """A random permutation of `range(count)`: int64 `[count]`."""
    values = np.arange(count)
    _shuffle(values, raw_numbers(count, seed, epoch, purpose, window))
    return values


def windows_of(batch_rows: np.ndarray, order: np.ndarray, minimum: int) -> list[np.ndarray]:
    """Cut an order of record batches into windows of at least `minimum` rows.

    Args:
        batch_rows: rows of every batch.
        order: batch numbers, in the order in which they are to be read.
        minimum: rows that a window has at least, where the dataset has as many.

    Returns:
        The batch numbers of each window. What is left over joins the last window.
    """
    windows: list[np.ndarray] = []
    ends = np.cumsum(batch_rows[order], dtype=np.int64)
    begin = 0
    while begin < len(order):
        before = ends[begin - 1] if begin else 0
        end = int(np.searchsorted(ends, before + minimum)) + 1
        if end >= len(order) and windows and ends[-1] - before < minimum:
            windows[-1] = np.concatenate([windows[-1], order[begin:]])
        else:
            windows.append(order[begin:end])
        begin = end
    return windows


def epoch_windows(batch_rows: np.ndarray, seed: int, epoch: int, minimum: int) -> list[np.ndarray]:
    """The windows of a training epoch: batch numbers, shuffled across shards."""
    order = permutation(len(batch_rows), seed, epoch, BATCHES)
    return windows_of(batch_rows, order, minimum)
