"""Tasks to documents: each file by its form, small ones together.

A line ends at a line feed; one carriage return before it is dropped. A split begins and ends where
documents do, so the documents do not depend on how the input was split.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from preprocess.addresses import is_address
from preprocess.places import map_concurrently
from preprocess.read import streams
from preprocess.read.batches import DocumentBatch, batch_of_bytes, join_batches
from preprocess.read.chunks import BOM, Chunk, whole_documents
from preprocess.read.columns import read_table
from preprocess.read.csv_texts import read_csv
from preprocess.read.json_texts import read_json, read_json_lines
from preprocess.read.lines import gather_documents
from preprocess.read.sources import (
    InputFile,
    ReadOptions,
    Split,
    Task,
    check_unchanged,
    is_plain,
    read_whole,
    reading,
)

_READERS = {
    "jsonl": read_json_lines,
    "json": read_json,
    "csv": read_csv,
    "tsv": read_csv,
    "parquet": read_table,
    "arrow": read_table,
}


def read_task(task: Task, options: ReadOptions) -> Iterator[DocumentBatch]:
    """The documents of a task, in order, in batches of about `streams.READ_BYTES`.

    Raises:
        WholewordError: a file changed or cannot be read, or a record is malformed.
    """
    waiting: list[DocumentBatch] = []
    size = 0
    for splits in _runs(task.splits):
        alone = len(splits) == 1
        for batch in read_split(splits[0], options) if alone else read_files(splits, options):
            more = batch.documents.nbytes
            if waiting and size + more > streams.READ_BYTES:
                yield join_batches(waiting)
                waiting, size = [], 0
            waiting.append(batch)
            size += more
    if waiting:
        yield join_batches(waiting)
    for file in dict.fromkeys(split.file for split in task.splits):
        check_unchanged(file)


def _runs(splits: tuple[Split, ...]) -> Iterator[list[Split]]:
    """Splits that are read together: whole small files of plain text, else one alone."""
    run: list[Split] = []
    size = 0
    for split in splits:
        small = split.bytes == split.file.bytes < streams.READ_BYTES // 4 and is_plain(split.file)
        if run and (not small or size + split.bytes > streams.READ_BYTES):
            yield run
            run, size = [], 0
        if small:
            run.append(split)
            size += split.bytes
        else:
            yield [split]
    if run:
        yield run


def read_files(splits: list[Split], options: ReadOptions) -> Iterator[DocumentBatch]:
    """The documents of whole small files: as of each alone, in one batch, many times as fast.

    Raises:
        WholewordError: as for `read_task`.
    """
    pieces, boms = [], []
    for whole in _read_wholes([split.file for split in splits]):
        data = whole.removeprefix(BOM)
        boms.append(len(whole) - len(data))
        pieces.append(data + _line_end(data))
    starts = np.cumsum([0, *map(len, pieces)])[:-1]
    files = [split.file for split in splits]
    chunk = Chunk(b"".join(pieces), 0, sum(split.bytes for split in splits))
    yield _gather(files, starts, np.array(boms) - starts, chunk, options.separator)


def _read_wholes(files: list[InputFile]) -> Iterable[bytes]:
    def read(file: InputFile) -> bytes:
        with reading(file):
            return read_whole(file)

    remote = any(is_address(file.path) for file in files)
    return map_concurrently(read, files) if remote else map(read, files)


def _line_end(data: bytes) -> bytes:
    """What a file lacks before another one may stand behind it."""
    if not data or data.endswith(b"\n"):
        return b""
    return b"\r\n" if data.endswith(b"\r") else b"\n"  # of which the rule of lines drops one


def read_split(split: Split, options: ReadOptions) -> Iterator[DocumentBatch]:
    """The documents of a split, in order.

    Raises:
        WholewordError: as for `read_task`.
    """
    check_unchanged(split.file)
    with reading(split.file):
        for batch in _READERS.get(split.file.form, _read_text)(split, options):
            if not is_address(split.file.path):  # (to ask takes long: once, at the task's end)
                check_unchanged(split.file)
            yield batch


def _read_text(split: Split, options: ReadOptions) -> Iterator[DocumentBatch]:
    for chunk in whole_documents(split, options.separator):
        start = np.zeros(1, np.int64)
        yield _gather([split.file], start, start + chunk.position, chunk, options.separator)


def _gather(
    files: list[InputFile], starts: np.ndarray, shifts: np.ndarray, chunk: Chunk, separator: str
) -> DocumentBatch:
    """Documents of a chunk.

    Args:
        files: what it is of.
        starts: int64 `[files]`: where in the chunk each begins.
        shifts: int64 `[files]`: what added to a place in the chunk gives the place in the file.
        chunk: whole documents.
        separator: what ends a document.
    """
    begins, ends, blank = chunk.lines
    first_lines = np.searchsorted(begins, starts)
    numbers, count = _number_lines(blank, separator, first_lines)
    offsets, text = gather_documents(
        np.frombuffer(chunk.data, np.uint8), begins, ends, numbers, count
    )
    counts = Counter(documents_cut=int(chunk.cut))
    if separator == "line":
        counts["blank_lines"] = int(blank.sum())
    numbered = numbers >= 0
    positions = begins[numbered][np.searchsorted(numbers[numbered], np.arange(count))]
    before = np.searchsorted(positions, starts)  # documents before each file
    ends_of_files = np.append(before[1:], count)
    return batch_of_bytes(
        files,
        offsets,
        text,
        positions + np.repeat(shifts, np.diff(ends_of_files, prepend=0)),
        bytes_read=chunk.bytes_read,
        counts=counts,
        ends=ends_of_files,
    )


def _number_lines(
    blank: np.ndarray, separator: str, first_lines: np.ndarray
) -> tuple[np.ndarray, int]:
    """Each line's document (-1: none) and the number of documents.

    Args:
        blank: bool `[lines]`.
        separator: what ends a document.
        first_lines: int64 `[files]`, ascending: where files begin.
    """
    text = ~blank
    if not text.any():
        return np.full(len(blank), -1, np.int64), 0
    if separator == "file":  # blank lines inside the text are kept
        lines = np.flatnonzero(text)
        file = np.searchsorted(first_lines, lines, "right")
        new = np.flatnonzero(np.diff(file, prepend=-1))
        numbers = np.full(len(blank), -1, np.int64)
        edges = np.zeros(len(blank) + 1, np.int64)
        np.add.at(edges, lines[new], 1)
        np.add.at(edges, lines[np.append(new[1:], len(lines)) - 1] + 1, -1)
        inside = np.cumsum(edges[:-1]) > 0
        begun = np.zeros(len(blank), np.int64)
        begun[lines[new]] = 1
        numbers[inside] = np.cumsum(begun)[inside] - 1
        return numbers, len(new)
    begins = text.copy()
    if separator == "blank-line":
        begins[1:] &= blank[:-1]
        begins[first_lines[first_lines < len(blank)]] = True
        begins &= text
    numbers = np.where(text, np.cumsum(begins) - 1, -1)
    return numbers.astype(np.int64), int(begins.sum())
