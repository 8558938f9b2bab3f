"""Exact duplicates in memory that does not grow with the text: sorted runs of hashes on disk.

A document is its text's XXH3-128. Each task writes runs of at most `RUN` hashes, sorted, each hash
once, and beside them the numbers of documents whose text stood in the same run before. The range of
hashes is then cut into as many parts as there are full runs; in a part, the document of the lowest
number stays of every hash. Both steps run in parallel, on any machine that sees the folder, and the
result depends on the documents alone.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash

from preprocess.files import local_copy, written
from preprocess.read.buffers import text_buffers

RUN = 1 << 21
"""Hashes that are held in memory at a time, by the first step and by the second."""
ENTRY = np.dtype([("high", "<u8"), ("low", "<u8"), ("number", "<i8")])
"""The two halves of a hash, and the number of the first document that has it."""


def hash_texts(documents: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    """XXH3-128 of every document: its high and low half, uint64 `[documents]`."""
    data, offsets = text_buffers(documents)
    view = data.data
    digest = xxhash.xxh3_128_digest
    whole = b"".join(digest(view[begin:end]) for begin, end in pairwise(offsets.tolist()))
    halves = np.frombuffer(whole, ">u8").astype(np.uint64).reshape(-1, 2)
    return halves[:, 0], halves[:, 1]


def find_first(high: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places that sort hashes (equal ones keep their order), and which of those is a first one.

    Args:
        high: uint64 `[hashes]`.
        low: uint64 `[hashes]`.

    Returns:
        int64 `[hashes]` and bool `[hashes]`.
    """
    order = np.argsort(high, kind="stable")
    if np.any((np.diff(high[order]) == 0) & (np.diff(low[order]) != 0)):
        order = np.lexsort((low, high))  # two texts that share half of their hash
    high, low = high[order], low[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return order, first


class HashRuns:
    """Writes the runs of one task: `PREFIX-RUN.npy`, and `PREFIX-RUN-copies.npy` beside each."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self.files: list[Path] = []
        """What was written."""
        self._folder, self._prefix = folder, prefix
        self._held: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._count = 0

    def add(self, documents: pa.LargeStringArray, numbers: np.ndarray) -> None:
        """Hash documents, whose numbers ascend from call to call."""
        high, low = hash_texts(documents)
        self._held.append((high, low, numbers))
        self._count += len(numbers)
        if self._count >= RUN:
            self.close()

    def close(self) -> None:
        """Write what is held; called once more when all documents are there."""
        if not self._count:
            return
        high, low, numbers = (np.concatenate(held) for held in zip(*self._held, strict=True))
        self._held, self._count = [], 0
        order, first = find_first(high, low)
        run = np.empty(int(first.sum()), ENTRY)
        chosen = order[first]
        run["high"], run["low"], run["number"] = high[chosen], low[chosen], numbers[chosen]
        name = f"{self._prefix}-{len(self.files) // 2:04d}"
        self.files += [self._folder / f"{name}.npy", self._folder / f"{name}-copies.npy"]
        save_array(self.files[-2], run)
        save_array(self.files[-1], np.sort(numbers[order[~first]]))


def part_count(runs: list[Path]) -> int:
    """Into how many parts hashes are cut, so that each has about as many as a run."""
    return -(-sum(len(load_array(run)) for run in runs) // RUN) or 1


def find_copies(runs: list[Path], part: int, parts: int) -> np.ndarray:
    """Documents of a part of the hashes whose text stands in an earlier run.

    Args:
        runs: files of runs, in the order of the input.
        part: which part.
        parts: how many there are.

    Returns:
        int64, ascending numbers of documents.
    """
    begin, end = (np.uint64(min((k << 64) // parts, (1 << 64) - 1)) for k in (part, part + 1))
    pieces = [np.empty(0, ENTRY)]
    for path in runs:
        run = load_array(path)
        first = _lower_bound(run, begin) if part else 0
        last = _lower_bound(run, end) if part + 1 < parts else len(run)
        pieces.append(np.array(run[first:last]))
    entries = np.concatenate(pieces)
    order, first_of_hash = find_first(entries["high"].copy(), entries["low"].copy())
    return np.sort(entries["number"][order[~first_of_hash]])


def numbers_between(files: list[Path], first: int, end: int) -> np.ndarray:
    """Numbers in `[first, end)` of files that each hold ascending numbers: int64, ascending."""
    return np.sort(np.concatenate([np.empty(0, np.int64), *_slices(files, first, end)]))


def _slices(files: list[Path], first: int, end: int) -> Iterator[np.ndarray]:
    for file in files:
        numbers = load_array(file)
        yield np.array(numbers[np.searchsorted(numbers, first) : np.searchsorted(numbers, end)])


def _lower_bound(run: np.ndarray, high: np.uint64) -> int:
    """The first entry whose hash is not below; touches a few pages of the file alone."""
    low, top = 0, len(run)
    while low < top:
        middle = (low + top) // 2
        if run[middle]["high"] < high:
            low = middle + 1
        else:
            top = middle
    return low


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array so that the file is whole or absent."""
    with written(path, shared=True) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def load_array(path: Path) -> np.ndarray:
    """An array that is read where it is touched."""
    array: np.ndarray = np.load(local_copy(path), mmap_mode="r")
    return array
