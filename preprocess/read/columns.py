"""Parquet and Arrow to documents: a column's buffers become them, with no loop over rows."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from preprocess.addresses import AddressError, is_address
from preprocess.errors import WholewordError
from preprocess.places import map_concurrently
from preprocess.read import streams
from preprocess.read.batches import DocumentBatch, batch_of_texts
from preprocess.read.fields import unknown_column
from preprocess.read.formats import TABLES
from preprocess.read.ranges import RangeReader, opened
from preprocess.read.sources import InputFile, ReadOptions, Split, check_unchanged

if TYPE_CHECKING:
    import pyarrow.parquet as pq

MAX_ROWS = 256
"""Rows decoded at once: a dictionary's entry of a megabyte may stand in each of them."""
_BUFFER = 1 << 20


def row_groups(file: InputFile) -> list[int]:
    """Stored bytes of each row group of a Parquet file; their sum is the file's size.

    Raises:
        WholewordError: the file is damaged, or none.
    """
    with _problems(file):
        metadata = _open_parquet(file).metadata
        # (Of a damaged file, the metadata of a column would end the process, in C++.)
        sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    total = max(sum(sizes), 1)
    ends = [file.bytes * size // total for size in accumulate(sizes, initial=0)]
    return [end - begin for begin, end in pairwise(ends)] or [file.bytes]


def check_columns(files: list[InputFile], fields: tuple[str, ...]) -> None:
    """Look for the columns in every table, before hours of work on those that come first.

    Raises:
        WholewordError: a column is missing or holds no text, or a file is damaged.
    """
    tables = [file for file in files if file.form in TABLES]
    remote = any(is_address(file.path) for file in tables)
    schemas = (map_concurrently if remote else map)(_schema, tables)
    for file, schema in zip(tables, schemas, strict=True):
        for field in fields:
            _find_column(file, schema, field)


def _schema(file: InputFile) -> pa.Schema:
    with _problems(file):
        if file.form == "parquet":
            return _open_parquet(file).schema_arrow
        with opened(file.path, file.bytes) as source:
            return _open_arrow(source).schema


def read_table(split: Split, options: ReadOptions) -> Iterator[DocumentBatch]:
    """Documents of some row groups of Parquet, or of an Arrow file; each row is one.

    Raises:
        WholewordError: a column is missing or holds no text, or the file is damaged.
    """
    source = _read_parquet if split.file.form == "parquet" else _read_arrow
    waiting: list[pa.RecordBatch] = []
    row = read = size = 0
    for table, first_row, share in source(split, options.text_fields):
        step = max(1, streams.READ_BYTES * table.num_rows // max(table.nbytes, 1))
        for begin in range(0, table.num_rows, step):
            row = row if waiting else first_row + begin
            waiting.append(table.slice(begin, step))
            size += waiting[-1].nbytes
            if size >= streams.READ_BYTES:
                used = int(split.bytes * share) - read
                yield _batch(split.file, waiting, row, options, used)
                waiting, size = [], 0
                read += used
    if waiting or read < split.bytes:
        yield _batch(split.file, waiting or [_NOTHING], row, options, split.bytes - read)


_NOTHING = pa.RecordBatch.from_arrays([pa.nulls(0, pa.large_binary())], ["0"])
"""(`pa.array` would import pandas, half a second before the first line of any command.)"""


def _batch(
    file: InputFile,
    pieces: list[pa.RecordBatch],
    first_row: int,
    options: ReadOptions,
    bytes_read: int,
) -> DocumentBatch:
    counts: Counter[str] = Counter()
    rows = pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)
    texts = _join(rows.columns, options.field_separator)
    positions = np.arange(first_row, first_row + rows.num_rows)
    if texts.null_count:
        kept = texts.is_valid().to_numpy(zero_copy_only=False)
        if options.strict:
            names = " and ".join(map(repr, options.text_fields))
            raise WholewordError(
                f"{file.path}: row {positions[~kept][0]}, counted from 0: the field {names} is null"
            )
        counts["null_texts"] = texts.null_count
        positions = positions[kept]
        texts = texts.drop_null()
    return batch_of_texts(file, texts, positions, bytes_read=bytes_read, counts=counts)


def _join(columns: list[pa.Array], separator: str) -> pa.Array:
    """Texts of several columns as one; a null or empty one is left out, all null are null."""
    if len(columns) == 1:
        return columns[0]
    empty = pa.scalar(b"", pa.large_binary())
    parts = [pc.if_else(pc.equal(column, empty), None, column) for column in columns]
    # Where all are null, `skip` gives no row at all: such rows must not come to it.
    filled = reduce(pc.or_, (part.is_valid() for part in parts))
    between = pa.scalar(separator.encode(), pa.large_binary())
    joined = pc.binary_join_element_wise(
        *(part.filter(filled) for part in parts), between, null_handling="skip"
    )
    there = reduce(pc.or_, (column.is_valid() for column in columns))
    return pc.replace_with_mask(pc.if_else(there, empty, None), filled, joined)


def _text_columns(table: pa.RecordBatch, paths: list[list[str]]) -> pa.RecordBatch:
    """The columns that paths lead to as `large_binary`; whether it is UTF-8 is looked at later."""
    columns = []
    for first, *rest in paths:
        column = pc.struct_field(table.column(first), rest) if rest else table.column(first)
        if pa.types.is_dictionary(column.type):
            column.validate(full=True)  # a damaged file's indices may lead anywhere
            column = column.dictionary_decode()
        columns.append(column.cast(pa.large_binary()))
    return pa.record_batch(columns, [f"{number}" for number in range(len(columns))])


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (
        *(pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
        *(pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_null),
    )
    return any(test(kind) for test in tests)


def _find_column(file: InputFile, schema: pa.Schema, path: str) -> list[str]:
    """Names that lead to a column of text: the one of that very name, else along the dots."""
    names = [path] if path in schema.names else path.split(".")
    kind: pa.DataType = pa.struct(list(schema))
    for name in names:
        if not pa.types.is_struct(kind) or kind.get_field_index(name) < 0:
            raise unknown_column(file.path, path, list(_columns(schema)))
        kind = kind.field(name).type
    if not _is_text(kind):
        raise unknown_column(file.path, path, list(_columns(schema)), f"is {kind}, not text")
    return names


def _columns(fields: pa.Schema | pa.StructType, prefix: str = "") -> Iterator[str]:
    """Columns of text by their dotted names, then all others with their types."""
    others = []
    for field in fields:
        if pa.types.is_struct(field.type):
            yield from _columns(field.type, f"{prefix}{field.name}.")
        elif _is_text(field.type):
            yield f"{prefix}{field.name}"
        else:
            others.append(f"{prefix}{field.name} ({field.type})")
    yield from others


@contextmanager
def _problems(file: InputFile, where: str = "") -> Iterator[None]:
    """Turn what Arrow says of a damaged file into one line with the place."""
    try:
        yield
    except AddressError:
        raise
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        check_unchanged(file)
        raise WholewordError(
            f"{file.path}: {where}cannot be read ({error}); the file is damaged or no "
            f"{file.form.capitalize()} file: mend it, or take it out of the input"
        ) from error


def _open_parquet(file: InputFile) -> "pq.ParquetFile":
    import pyarrow.parquet as pq

    if is_address(file.path):  # the columns of a row group at once, not in pieces
        source = RangeReader(file.path, file.bytes, block=0)
        return pq.ParquetFile(source, pre_buffer=True, page_checksum_verification=True)
    return pq.ParquetFile(
        file.path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True
    )


def _read_parquet(
    split: Split, fields: tuple[str, ...]
) -> Iterator[tuple[pa.RecordBatch, int, float]]:
    """Some rows at a time: texts, the number of the first in the file, the share that is done."""
    with _problems(split.file):
        source = _open_parquet(split.file)
        paths = [_find_column(split.file, source.schema_arrow, field) for field in fields]
    names = [".".join(path) for path in paths]
    ends = np.cumsum([0, *(_group_rows(source, i) for i in range(split.end))])
    first_row = begin = int(ends[split.begin])
    total = max(int(ends[split.end]) - begin, 1)
    for group in range(split.begin, min(split.end, source.num_row_groups)):
        metadata = source.metadata.row_group(group)
        size = max(metadata.total_byte_size, 1)
        rows = max(1, min(MAX_ROWS, streams.READ_BYTES * metadata.num_rows // size))
        with _problems(split.file, f"row group {group}: "):
            for table in source.iter_batches(
                rows, row_groups=[group], columns=names, use_threads=False
            ):
                done = first_row + table.num_rows - begin
                yield _text_columns(table, paths), first_row, done / total
                first_row += table.num_rows


def _group_rows(source: "pq.ParquetFile", number: int) -> int:
    return int(source.metadata.row_group(number).num_rows) if source.num_row_groups else 0


def _read_arrow(
    split: Split, fields: tuple[str, ...]
) -> Iterator[tuple[pa.RecordBatch, int, float]]:
    """The same of an Arrow file or stream; of the columns, only those asked for are loaded."""
    file = split.file
    with _problems(file), opened(file.path, file.bytes) as source:
        schema = _open_arrow(source).schema
        paths = [_find_column(file, schema, field) for field in fields]
    chosen = sorted({schema.get_field_index(path[0]) for path in paths})
    first_row = 0
    with _problems(file), opened(file.path, file.bytes) as source:
        reader = _open_arrow(source, chosen)
        for number, table in enumerate(_record_batches(file, reader)):
            with _problems(file, f"record batch {number}: "):
                texts = _text_columns(table, paths)
                texts.validate(full=True)  # offsets too
            yield texts, first_row, min(source.tell() / split.bytes, 1.0)
            first_row += texts.num_rows


def _open_arrow(
    source: pa.NativeFile, columns: list[int] | None = None
) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    is_file = source.read(6) == b"ARROW1"
    source.seek(0)
    options = pa.ipc.IpcReadOptions(included_fields=columns, use_threads=False)
    return (pa.ipc.open_file if is_file else pa.ipc.open_stream)(source, options=options)


def _record_batches(file: InputFile, reader: Any) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.RecordBatchStreamReader):
        yield from reader
    else:
        yield from map(reader.get_batch, range(reader.num_record_batches))
