"""Where the record batches of a part are, and how long its rows.

What is read at the start has one entry a record batch. The lengths of a shard's rows are mapped,
and checked when they are first wanted, so that the index of two billion rows opens in a moment and
in little memory; ranks of one machine share the pages that they touch.
"""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash

from preprocess.errors import WholewordError
from preprocess.write.manifest import Manifest, PartEntry
from preprocess.write.shards import ShardIndex, read_index

BUILD = "build the shards again (`python -m preprocess build-shards --overwrite`)"


class PartIndex:
    """The index of one part; a *piece* is what it holds of one shard."""

    def __init__(self, folder: Path, part: str, manifest: Manifest) -> None:
        """Open it.

        Raises:
            WholewordError: it is missing, or is not what the manifest says.
        """
        self._path = folder / part / "index.arrow"
        self._entry: PartEntry = manifest.parts[part]  # type: ignore[index]
        self._longest = manifest.max_row_tokens
        self._remedy = f"run `python -m preprocess verify --reindex --data {folder}`"
        self._index = self._open()
        self.shard, self.offset = self._index.shard, self._index.offset
        """int32 and int64, the shard of each record batch and where its message begins there."""
        self.bytes, self.xxh3_64 = self._index.bytes, self._index.xxh3_64
        """int64 and uint64, the size of each message and what it hashes to."""
        self.rows = self._index.rows
        """int32, rows of each record batch."""
        self.first_rows = np.concatenate([[0], np.cumsum(self.rows, dtype=np.int64)])
        """int64 `[batches + 1]`, number in the part of each batch's first row."""
        counts = np.diff(self._index.first_batches)
        self._piece = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        sizes = np.array([len(lengths) for lengths in self._index.lengths], np.int64)
        self._first_of_piece = self.first_rows[self._index.first_batches]
        if self.first_rows[-1] != self._entry.rows or not np.array_equal(
            np.diff(self._first_of_piece), sizes
        ):
            raise WholewordError(f"{self._path}: not of these shards; {BUILD}")
        self._check_batches()
        self._checked = np.zeros(len(counts), np.bool_)
        if not self._is_sealed:
            for piece in range(len(counts)):
                self._check_range(self._index.lengths[piece])
            self._check(sum(p.sum(dtype=np.int64) for p in self._index.lengths), self._entry.tokens)
            self._checked[:] = True

    def lengths_of(self, batches: np.ndarray) -> np.ndarray:
        """Tokens of each row of some record batches, one after the other: uint16.

        Raises:
            WholewordError: they are not those that were built.
        """
        return np.concatenate([np.empty(0, np.uint16), *map(self._lengths, batches.tolist())])

    def all_lengths(self) -> np.ndarray:
        """Tokens of every row, in memory: uint16 `[rows]`."""
        return self.lengths_of(np.arange(len(self.rows)))

    def _lengths(self, batch: int) -> np.ndarray:
        piece = int(self._piece[batch])
        if not self._checked[piece]:
            self._check_piece(piece)
        first = self._first_of_piece[piece]
        begin, end = self.first_rows[batch : batch + 2] - first
        return self._index.lengths[piece][begin:end]

    @property
    def _is_sealed(self) -> bool:
        """Whether the manifest has a checksum for each piece; those of older versions do not."""
        shards = self._entry.shards
        return bool(self._entry.batches_xxh3_128) and all(s.lengths_xxh3_64 for s in shards)

    def _open(self) -> ShardIndex:
        try:
            if not self._is_sealed:
                with pa.memory_map(str(self._path)) as source:
                    digest = xxhash.xxh3_128_hexdigest(source.read_buffer())
                if digest != self._entry.index_xxh3_128:
                    raise self._differs()
            index = read_index(self._path)
        except (OSError, pa.ArrowInvalid) as error:
            number = getattr(error, "errno", None)  # Arrow's own words repeat the path
            cause = os.strerror(number) if number else error
            raise WholewordError(
                f"{self._path}: cannot be read ({cause}); {self._remedy}"
            ) from error
        if self._is_sealed and index.batches_xxh3_128 != self._entry.batches_xxh3_128:
            raise self._differs()
        return index

    def _differs(self) -> WholewordError:
        return WholewordError(f"{self._path}: differs from what the manifest says; {self._remedy}")

    def _check_batches(self) -> None:
        """Refuse an index with a right checksum that makes no sense of these shards."""
        index, shards = self._index, self._entry.shards
        sizes = np.array([shard.bytes for shard in shards], np.int64)
        rows = np.array([shard.rows for shard in shards], np.int64)
        right = (
            bool(np.all((index.shard >= 0) & (index.shard < len(shards))))
            and bool(np.all((index.rows > 0) & (index.offset >= 0) & (index.bytes > 0)))
            and bool(np.all(index.bytes <= sizes[index.shard] - index.offset))
            and _is_in_order(index)
            and np.array_equal(
                np.bincount(index.shard, index.rows, minlength=len(shards)).astype(np.int64), rows
            )
        )
        if right and self._is_sealed:  # shards ascend, so a piece of one shard is all of it, if
            counts = np.diff(index.first_batches)  # there are as many pieces as there are shards
            owners = index.shard[index.first_batches[:-1][counts > 0]]
            whole = np.repeat(owners, counts[counts > 0])
            right = np.array_equal(index.shard, whole) and bool(np.all(np.diff(owners) > 0))
        self._check(right, True)

    def _check_piece(self, piece: int) -> None:
        """Compare the lengths of a shard's rows with the manifest, before their first use."""
        lengths = self._index.lengths[piece]
        shard = self._entry.shards[int(self.shard[self._index.first_batches[piece]])]
        if xxhash.xxh3_64_hexdigest(lengths.data) != shard.lengths_xxh3_64:
            raise self._differs()
        self._check_range(lengths)
        self._check(int(lengths.sum(dtype=np.int64)), shard.tokens)
        self._checked[piece] = True

    def _check_range(self, lengths: np.ndarray) -> None:
        self._check(int(lengths.min(initial=1)) >= 1, True)
        self._check(int(lengths.max(initial=1)) <= self._longest, True)

    def _check(self, found: int, wanted: int) -> None:
        if found != wanted:
            raise self._makes_no_sense()

    def _makes_no_sense(self) -> WholewordError:
        return WholewordError(f"{self._path}: makes no sense of these shards; {BUILD}")


def _is_in_order(index: ShardIndex) -> bool:
    """Whether record batches follow each other as their rows are numbered, and share no byte."""
    shard, begin, end = index.shard, index.offset, index.offset + index.bytes
    later = (shard[1:] > shard[:-1]) | ((shard[1:] == shard[:-1]) & (begin[1:] >= end[:-1]))
    return bool(np.all(later))
