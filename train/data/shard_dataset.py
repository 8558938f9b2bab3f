"""All shards of one part as one memory-mapped table of rows.

Opening reads the manifest and of `index.arrow` what stands there a record batch, and holds nothing
that grows with the rows. A shard is mapped when one of its record batches is first wanted, and a
batch is hashed before its first use, so damage is never used in silence.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import xxhash

from preprocess.errors import WholewordError
from preprocess.places import Place
from preprocess.sigbus import report_truncation
from preprocess.write.manifest import Manifest, read_manifest
from preprocess.write.shards import open_batch, shard_schema
from train.data.batch_cache import CacheOptions, StoredBatch, default_cache
from train.data.part_index import BUILD, PartIndex
from train.data.remote_shards import RemoteShards


@dataclass(frozen=True)
class BatchRows:
    """Where the rows of one record batch lie in memory; arrays have one entry a row.

    The addresses hold as long as this object does.
    """

    batch: pa.RecordBatch
    """Keeps the memory."""

    first: int
    """Number in the part of the batch's first row."""
    ids: np.ndarray
    """int64, byte address of the row's first id."""
    words: np.ndarray
    """int64, bit address (8 * byte address + bit) of its first `word_starts`."""
    sentences: np.ndarray
    """int64, bit address of its first `sentence_starts`."""
    lengths: np.ndarray
    """int64, tokens without special tokens."""
    documents: np.ndarray
    """int64, number of the row's document; rows of one follow each other."""


def check_tokenizer(folder: Path, manifest: Manifest) -> None:
    """Refuse shards whose tokenizer is not the one that they were built with.

    Raises:
        WholewordError: a file of it is missing or another.
    """
    for name, checksum in manifest.tokenizer.files.items():
        path = folder / "tokenizer" / name
        try:
            digest = xxhash.xxh3_128_hexdigest(path.read_bytes())
        except OSError as error:
            raise WholewordError(f"{path}: {error.strerror}; {BUILD}") from error
        if digest != checksum:
            raise WholewordError(
                f"{path}: differs from what the manifest says, so the ids mean other tokens; "
                f"restore it, or {BUILD}"
            )


def check_same_tokenizer(dataset: "ShardDataset", first: "ShardDataset") -> None:
    """Refuse shards that do not mean the same tokens by their ids as the first ones do.

    Raises:
        WholewordError: they were built with another tokenizer.
    """
    check_tokenizer(dataset.folder, dataset.manifest)
    if dataset.manifest.tokenizer.sha256 != first.manifest.tokenizer.sha256:
        raise WholewordError(
            f"{dataset.folder}: was built with another tokenizer than {first.folder}; build it "
            f"again with --tokenizer {first.folder / 'tokenizer'}"
        )


class ShardDataset:
    """The rows of one part, in index order; row numbers are global within the part."""

    def __init__(
        self,
        folder: Path,
        part: str,
        check_shards: Literal["sizes", "full"] = "sizes",
        cache: CacheOptions | None = None,
    ) -> None:
        """Open a part.

        Args:
            folder: a finished shards folder, or the place of one at an address.
            part: "train", "validation" or "test".
            check_shards: "full" reads and hashes every record batch now, not at its first use.
            cache: where what an address holds is kept; None for the usual place.

        Raises:
            WholewordError: a shard or the index is missing, or is not what the manifest says.
        """
        self._remote = (
            RemoteShards(folder, cache or default_cache()) if isinstance(folder, Place) else None
        )
        self.folder = self._remote.folder if self._remote else Path(folder)
        self.part = part
        self.manifest = self._remote.manifest if self._remote else read_manifest(self.folder)
        entry = next((e for name, e in self.manifest.parts.items() if name == part), None)
        if entry is None:
            raise WholewordError(f"{self.folder}: holds no {part} part; {BUILD}")
        self._shards = entry.shards
        self._entry = entry
        if self._remote:
            self._remote.copy_index(part)
        self._index = PartIndex(self.folder, part, self.manifest)
        self._vocab_size = self.manifest.tokenizer.vocab_size
        self._schema = shard_schema(self.manifest.id_dtype)
        self._maps: dict[int, pa.Buffer] = {}
        self._checked = np.zeros(self.batches, np.bool_)
        report_truncation(self.folder)
        self._check_sizes()
        if check_shards == "full":
            for batch in range(self.batches):
                self._open(batch)

    def __len__(self) -> int:
        """Rows of the part."""
        return self._entry.rows

    @property
    def lengths(self) -> np.ndarray:
        """uint16 `[rows]`, tokens of each row without special tokens: a copy of all."""
        return self._index.all_lengths()

    def lengths_of(self, batches: np.ndarray) -> np.ndarray:
        """The same of the rows of some record batches, in the order of `rows_of`."""
        return self._index.lengths_of(batches)

    def longest_row(self, limit: int) -> int:
        """Tokens of the longest row; where none can be above `limit`, of the longest possible."""
        possible = self.manifest.max_row_tokens
        return possible if possible <= limit else int(self.lengths.max(initial=0))

    @property
    def batches(self) -> int:
        """Record batches of the part."""
        return len(self._index.rows)

    @property
    def batch_rows(self) -> np.ndarray:
        """int32 `[batches]`, rows of each record batch."""
        return self._index.rows

    @property
    def tokens(self) -> int:
        """Tokens of all rows, the special ones around single rows included."""
        special = self.manifest.tokenizer
        around = len(special.prefix) + len(special.suffix)
        return self._entry.tokens + len(self) * around

    def rows_of(self, batches: np.ndarray) -> np.ndarray:
        """Row numbers of several record batches, one after the other: int64."""
        first = self._index.first_rows
        ranges = [np.arange(first[b], first[b + 1]) for b in batches]
        return np.concatenate([np.empty(0, np.int64), *ranges])

    def fetch_ahead(self, batches: np.ndarray) -> None:
        """Begin to fetch record batches that are wanted soon; nothing where they are on a disk."""
        if self._remote:
            self._remote.fetch_ahead([self._stored(int(batch)) for batch in batches])

    def locate(self, batch: int) -> BatchRows:
        """Where the rows of a record batch lie; reads and hashes it the first time.

        Raises:
            WholewordError: its bytes are not those that were built.
        """
        record_batch = self._open(batch)
        columns = record_batch.columns[:3]
        ids, words, sentences = (
            8 * column.values.buffers()[1].address
            + column.values.type.bit_width
            * (column.values.offset + column.offsets.to_numpy().astype(np.int64))
            for column in columns
        )
        lengths = np.diff(columns[0].offsets.to_numpy()).astype(np.int64)
        return BatchRows(
            batch=record_batch,
            first=int(self._index.first_rows[batch]),
            ids=ids[:-1] >> 3,
            words=words[:-1],
            sentences=sentences[:-1],
            lengths=lengths,
            documents=record_batch.column(3).to_numpy(),
        )

    def row(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One row's (ids, word_starts, sentence_starts), for people and tests; not fast."""
        batch = int(np.searchsorted(self._index.first_rows, number, side="right")) - 1
        place = number - int(self._index.first_rows[batch])
        columns = self._open(batch).columns[:3]
        ids, words, sentences = (
            column[place].values.to_numpy(zero_copy_only=False) for column in columns
        )
        return ids, words, sentences

    def _shard_path(self, shard: int) -> Path:
        return self.folder / self._shards[shard].file

    def _check_sizes(self) -> None:
        """Refuse a shard that is missing, truncated or replaced; stat is slow on network mounts."""

        def problem(shard: int) -> str | None:
            expected = self._shards[shard].bytes
            try:
                size = self._shard_path(shard).stat().st_size
            except OSError as error:
                return f"{self._shard_path(shard)}: {error.strerror or error}; {BUILD}"
            if size == expected:
                return None
            return (
                f"{self._shard_path(shard)}: {size} bytes, but the manifest says {expected}; it "
                f"was truncated or replaced; {BUILD}"
            )

        if self._remote:
            sizes = self._remote.sizes(self.part)
            for entry in self._shards:
                if entry.bytes != (size := sizes.get(entry.file)):
                    state = "is missing" if size is None else f"has {size} bytes"
                    raise WholewordError(
                        f"{self._remote.address / entry.file}: {state}, but the manifest says "
                        f"{entry.bytes}; {BUILD}"
                    )
            return
        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(problem, range(len(self._shards)), chunksize=64):
                if found:
                    raise WholewordError(found)

    def _map(self, shard: int) -> pa.Buffer:
        if shard not in self._maps:
            path = self._shard_path(shard)
            try:
                data = pa.memory_map(str(path)).read_buffer()
                schema = pa.ipc.read_schema(pa.BufferReader(data))
            except (OSError, pa.ArrowInvalid) as error:
                raise WholewordError(f"{path}: cannot be read ({error}); {BUILD}") from error
            if schema != self._schema:  # a record batch does not say what its bytes mean
                raise WholewordError(f"{path}: its columns are not those of a shard; {BUILD}")
            self._maps[shard] = data
        return self._maps[shard]

    def _open(self, batch: int) -> pa.RecordBatch:
        shard = int(self._index.shard[batch])
        offset, size = int(self._index.offset[batch]), int(self._index.bytes[batch])
        if self._remote:
            data, offset = self._remote.read(self._stored(batch)), 0
        else:
            data = self._map(shard)
        if self._checked[batch]:
            return open_batch(data, offset, size, self._schema)
        path = self._shard_path(shard)
        digest = xxhash.xxh3_64_intdigest(data[offset : offset + size])
        if digest != int(self._index.xxh3_64[batch]):
            raise WholewordError(
                f"{path}: record batch at byte {offset} is damaged or of another build; {BUILD}"
            )
        try:
            record_batch = open_batch(data, offset, size, self._schema)
            well_formed = self._is_as_indexed(batch, record_batch)
        except (OSError, pa.ArrowInvalid):
            well_formed = False
        if not well_formed:
            raise WholewordError(f"{path}: record batch at byte {offset} is malformed; {BUILD}")
        self._checked[batch] = True
        return record_batch

    def _stored(self, batch: int) -> StoredBatch:
        """A record batch of a dataset at an address."""
        index = self._index
        assert self._remote
        return self._remote.batch(
            self._shards[int(index.shard[batch])].file,
            int(index.offset[batch]),
            int(index.bytes[batch]),
            int(index.xxh3_64[batch]),
        )

    def _is_as_indexed(self, batch: int, record_batch: pa.RecordBatch) -> bool:
        """Whether the kernels, which check nothing, may read the batch.

        Raises:
            pa.ArrowInvalid: its own offsets and sizes contradict each other.
        """
        record_batch.validate(full=True)
        lengths = self.lengths_of(np.array([batch]))
        return (
            record_batch.num_rows == len(lengths)
            and all(
                column.null_count == column.flatten().null_count == 0
                and np.array_equal(np.diff(column.offsets.to_numpy()), lengths)
                for column in record_batch.columns[:3]
            )
            and record_batch.column(3).null_count == 0
            and int(record_batch.column(0).flatten().to_numpy().max()) < self._vocab_size
            and _all_first_set(record_batch.column(1))
        )


def _all_first_set(column: pa.ListArray) -> bool:
    """Whether the first flag of every list is set."""
    first = column.offsets.to_numpy()[:-1].astype(np.int64) + column.values.offset
    bits = np.frombuffer(column.values.buffers()[1], np.uint8)
    return bool(np.all(bits[first >> 3] >> (first & 7) & 1))
