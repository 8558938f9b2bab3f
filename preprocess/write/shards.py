"""Shards: Arrow IPC streams of rows, and the index that opens them at any record batch.

IPC streams have no footer, so finding the batches of a cold shard means reading all their headers.
`index.arrow` (an IPC file with a row per record batch) says where each batch is, what its bytes
hash to, and how long every row is; it is derived data, which `verify --reindex` rebuilds.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from preprocess.arrays import arrow_array, numpy_values
from preprocess.files import written
from preprocess.format import BATCH_ROWS

_SEAL = "xxh3_128"

_NUMBERS = ("shard", "offset", "bytes", "rows", "xxh3_64")
"""The columns of an index that have one number a record batch."""
INDEX_SCHEMA = pa.schema(
    [
        ("shard", pa.int32()),
        ("offset", pa.int64()),
        ("bytes", pa.int64()),
        ("rows", pa.int32()),
        ("xxh3_64", pa.uint64()),
        ("lengths", pa.large_list(pa.uint16())),
    ]
)


def shard_schema(id_dtype: np.dtype) -> pa.Schema:
    """The columns of a shard; `id_dtype` is uint16 or uint32."""
    return pa.schema(
        [
            ("input_ids", pa.list_(pa.from_numpy_dtype(id_dtype))),
            ("word_starts", pa.list_(pa.bool_())),
            ("sentence_starts", pa.list_(pa.bool_())),
            ("document", pa.int64()),
        ]
    )


def shard_name(number: int, total: int) -> str:
    """`data-00003-of-00012.arrow`, as the datasets library names them."""
    return f"data-{number:05d}-of-{total:05d}.arrow"


@dataclass(frozen=True)
class Rows:
    """Rows to be written, flat."""

    ids: np.ndarray
    """uint16 or uint32 `[tokens]`."""
    word_starts: np.ndarray
    """bool `[tokens]`."""
    sentence_starts: np.ndarray
    """bool `[tokens]`."""
    offsets: np.ndarray
    """int64 `[rows + 1]`; offsets[0] may be above 0 in a slice."""
    documents: np.ndarray
    """int64 `[rows]`."""

    def __len__(self) -> int:
        return len(self.documents)

    def slice(self, begin: int, end: int) -> "Rows":
        """Rows `[begin, end)`, without a copy."""
        first, last = self.offsets[begin], self.offsets[end]
        return Rows(
            self.ids[first:last],
            self.word_starts[first:last],
            self.sentence_starts[first:last],
            self.offsets[begin : end + 1] - first,
            self.documents[begin:end],
        )

    @staticmethod
    def concatenate(parts: list["Rows"]) -> "Rows":
        """All rows of several, in order."""
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return Rows(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.word_starts for part in parts]),
            np.concatenate([part.sentence_starts for part in parts]),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([part.documents for part in parts]),
        )


@dataclass(frozen=True)
class ShardIndex:
    """Where the record batches of one part are; arrays have one entry a batch."""

    shard: np.ndarray
    """int32, the shard's number."""
    offset: np.ndarray
    """int64, where the batch's message begins in the shard's file."""
    bytes: np.ndarray
    """int64, of the message, metadata and body."""
    rows: np.ndarray
    """int32."""
    xxh3_64: np.ndarray
    """uint64, of those bytes."""
    lengths: tuple[np.ndarray, ...]
    """uint16, tokens of each row without special tokens: an array for each record batch of the
    index, which holds those of one shard. They lie in the file, mapped."""
    first_batches: np.ndarray
    """int64 `[len(lengths) + 1]`, the first of the batches that each of `lengths` is of."""

    @property
    def batches_xxh3_128(self) -> str:
        """As `batches_checksum` has it."""
        return _hash_columns({name: getattr(self, name) for name in _NUMBERS})


class ShardWriter:
    """Writes one shard: a temporary file that gets its name only when it is whole.

    Use as a context manager; an exception removes the temporary file. After the block, `rows`,
    `tokens`, `words`, `bytes` and `xxh3_128` describe the shard, and `index` holds its rows of
    `index.arrow`.
    """

    def __init__(self, path: Path, number: int, schema: pa.Schema) -> None:
        self._path = path
        self._number = number
        self._schema = schema
        self._pending: list[Rows] = []
        self._pending_rows = 0
        self._index: list[dict[str, Any]] = []
        self._hash = xxhash.xxh3_128()
        self.rows = self.tokens = self.words = self.bytes = 0
        self.xxh3_128 = ""

    def __enter__(self) -> "ShardWriter":
        with ExitStack() as stack:
            # A slice, or a lost node, may be writing the same shard.
            temporary = stack.enter_context(written(self._path, shared=True))
            self._file = stack.enter_context(temporary.open("wb"))
            self._open = stack.pop_all()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._schema):
            pass
        whole = sink.getvalue()
        self._end_of_stream = whole[-8:].to_pybytes()
        self._put(whole[:-8])
        return self

    def write(self, rows: Rows) -> None:
        """Append rows; full record batches go to the file at once."""
        self._pending.append(rows)
        self._pending_rows += len(rows)
        if self._pending_rows >= BATCH_ROWS:
            self._flush(whole_batches_only=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._open.__exit__(kind, error, trace)
            return
        with self._open:  # publishes the file
            self._flush(whole_batches_only=False)
            self._put(pa.py_buffer(self._end_of_stream))
        self.xxh3_128 = self._hash.hexdigest()

    @property
    def index(self) -> pa.Table:
        """This shard's rows of `index.arrow`."""
        return index_table(self._index)

    def _flush(self, whole_batches_only: bool) -> None:
        if not self._pending_rows:
            return
        rows = Rows.concatenate(self._pending)
        end = len(rows) // BATCH_ROWS * BATCH_ROWS if whole_batches_only else len(rows)
        for begin in range(0, end, BATCH_ROWS):
            self._write_batch(rows.slice(begin, min(begin + BATCH_ROWS, end)))
        self._pending = [rows.slice(end, len(rows))] if end < len(rows) else []
        self._pending_rows = len(rows) - end

    def _write_batch(self, rows: Rows) -> None:
        message = record_batch(rows, self._schema).serialize()
        lengths = np.diff(rows.offsets).astype(np.uint16)
        self._index.append(
            {
                "shard": self._number,
                "offset": self.bytes,
                "bytes": message.size,
                "rows": len(rows),
                "xxh3_64": xxhash.xxh3_64_intdigest(message),
                "lengths": lengths,
            }
        )
        self.rows += len(rows)
        self.tokens += len(rows.ids)
        self.words += int(np.count_nonzero(rows.word_starts))
        self._put(message)

    def _put(self, data: pa.Buffer) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.bytes += data.size


def record_batch(rows: Rows, schema: pa.Schema) -> pa.RecordBatch:
    """One record batch of a shard from flat rows (offsets[0] must be 0)."""
    offsets = arrow_array(rows.offsets.astype(np.int32))
    columns = [
        pa.ListArray.from_arrays(offsets, arrow_array(values))
        for values in (rows.ids, rows.word_starts, rows.sentence_starts)
    ]
    return pa.RecordBatch.from_arrays([*columns, arrow_array(rows.documents)], schema=schema)


def index_table(entries: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows of `index.arrow`, a dictionary each, whose `lengths` are uint16 `[rows]`."""
    numbers = [
        arrow_array(np.array([entry[name] for entry in entries], _dtype_of(name)))
        for name in _NUMBERS
    ]
    lengths = [entry["lengths"] for entry in entries]
    offsets = np.cumsum([0, *map(len, lengths)], dtype=np.int64)
    flat = arrow_array(np.concatenate([np.empty(0, np.uint16), *lengths]))
    lists = pa.LargeListArray.from_arrays(arrow_array(offsets), flat)
    return pa.Table.from_arrays([*numbers, lists], schema=INDEX_SCHEMA)


def _dtype_of(name: str) -> np.dtype:
    """Of one of the index's `_NUMBERS`."""
    return np.dtype(INDEX_SCHEMA.field(name).type.to_pandas_dtype())


def open_batch(data: pa.Buffer, offset: int, size: int, schema: pa.Schema) -> pa.RecordBatch:
    """The record batch whose message lies at `data[offset : offset + size]`, without a copy."""
    return pa.ipc.read_record_batch(pa.ipc.read_message(data.slice(offset, size)), schema)


def scan_shard(data: pa.Buffer, number: int) -> Iterator[tuple[dict[str, object], pa.RecordBatch]]:
    """Every record batch of a shard with its row of the index, read without the index.

    Raises:
        pa.ArrowInvalid, OSError: the stream is malformed or ends early.
    """
    source = pa.BufferReader(data)
    schema = pa.ipc.read_schema(source)
    while True:
        begin = source.tell()
        try:
            message = pa.ipc.read_message(source)
        except EOFError:
            if data.size - begin != 8:  # a whole stream ends with its 8-byte mark
                raise pa.ArrowInvalid("the stream has no end mark") from None
            return
        end = source.tell()
        batch = pa.ipc.read_record_batch(message, schema)
        yield (
            {
                "shard": number,
                "offset": begin,
                "bytes": end - begin,
                "rows": batch.num_rows,
                "xxh3_64": xxhash.xxh3_64_intdigest(data.slice(begin, end - begin)),
                "lengths": np.diff(batch.column(0).offsets.to_numpy()).astype(np.uint16),
            },
            batch,
        )


def index_bytes(tables: list[pa.Table]) -> bytes:
    """The content of `index.arrow` from the shards' tables, in order."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, INDEX_SCHEMA) as writer:
        for table in tables:
            writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def write_index(path: Path, tables: Iterable[pa.Table]) -> str:
    """Write `index.arrow` from the shards' tables, in order; returns its xxh3-128.

    Of the tables, only one is in memory at a time.
    """
    with written(path, shared=True) as temporary:
        with (
            pa.OSFile(str(temporary), "wb") as file,
            pa.ipc.new_file(file, INDEX_SCHEMA) as writer,
        ):
            for table in tables:
                writer.write_table(table)
        with pa.memory_map(str(temporary)) as content:
            return xxhash.xxh3_128_hexdigest(content.read_buffer())


def read_index(path: Path) -> ShardIndex:
    """Read `index.arrow`, without touching the row lengths, which stay in the mapped file.

    Raises:
        OSError, pa.ArrowInvalid: missing or malformed.
    """
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    if reader.schema != INDEX_SCHEMA:
        raise pa.ArrowInvalid("it has other columns than an index")
    batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
    for batch in batches:
        batch.validate()  # what it says of itself is not hashed before it is used
    return ShardIndex(
        **_columns(batches),
        lengths=tuple(numpy_values(batch.column("lengths").flatten()) for batch in batches),
        first_batches=np.cumsum([0, *(batch.num_rows for batch in batches)]),
    )


def batches_checksum(tables: Sequence[pa.Table]) -> str:
    """xxh3-128 of an index without its row lengths: what opening a part reads in full."""
    return _hash_columns(_columns(tables))


def _hash_columns(columns: dict[str, np.ndarray]) -> str:
    digest = xxhash.xxh3_128()
    for values in columns.values():
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def lengths_checksum(table: pa.Table) -> str:
    """xxh3-64 of the row lengths of one shard's rows of the index."""
    lengths = pa.chunked_array([chunk.flatten() for chunk in table["lengths"].chunks], pa.uint16())
    return xxhash.xxh3_64_hexdigest(numpy_values(lengths).data)


def _columns(tables: Sequence[pa.RecordBatch | pa.Table]) -> dict[str, np.ndarray]:
    return {
        name: np.concatenate(
            [
                np.empty(0, _dtype_of(name)),
                *(numpy_values(table.column(name)) for table in tables),
            ]
        )
        for name in _NUMBERS
    }


def seal(value: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with a checksum of itself, without which a flipped digit would go unnoticed."""
    return {**value, _SEAL: _checksum(value)}


def unseal(value: dict[str, Any]) -> dict[str, Any]:
    """The object without its checksum, if it has one.

    Raises:
        ValueError: the checksum is not that of the rest.
    """
    rest = {key: inner for key, inner in value.items() if key != _SEAL}
    if _SEAL in value and value[_SEAL] != _checksum(rest):
        raise ValueError("it was damaged or changed")
    return rest


def _checksum(value: dict[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(value, sort_keys=True).encode())
