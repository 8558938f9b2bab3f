"""Tasks to documents: each file by its form, small ones together.

A line ends at a line feed; one carriage return before it is dropped. A split begins and ends where
documents do, so the documents do not depend on how the input was split.
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from preprocess.read import streams
from preprocess.read.batches import DocumentBatch, batch_of_bytes, join_batches
from preprocess.read.chunks import Chunk, whole_documents
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
    for split in task.splits:
        for batch in read_split(split, options):
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


def read_split(split: Split, options: ReadOptions) -> Iterator[DocumentBatch]:
    """The documents of a split, in order.

    Raises:
        WholewordError: as for `read_task`.
    """
    check_unchanged(split.file)
    with reading(split.file):
        for batch in _READERS.get(split.file.form, _read_text)(split, options):
            check_unchanged(split.file)
            yield batch


def _read_text(split: Split, options: ReadOptions) -> Iterator[DocumentBatch]:
    for chunk in whole_documents(split, options.separator):
        yield _gather(split.file, chunk, options.separator)


def _gather(file: InputFile, chunk: Chunk, separator: str) -> DocumentBatch:
    begins, ends, blank = chunk.lines
    numbers, count = _number_lines(blank, separator)
    offsets, text = gather_documents(
        np.frombuffer(chunk.data, np.uint8), begins, ends, numbers, count
    )
    first_lines = np.searchsorted(numbers[numbers >= 0], np.arange(count))
    counts = Counter(documents_cut=int(chunk.cut))
    if separator == "line":
        counts["blank_lines"] = int(blank.sum())
    positions = begins[numbers >= 0][first_lines] + chunk.position
    return batch_of_bytes(
        file, offsets, text, positions, bytes_read=chunk.bytes_read, counts=counts
    )


def _number_lines(blank: np.ndarray, separator: str) -> tuple[np.ndarray, int]:
    """Each line's document (-1: none) and the number of documents."""
    text = ~blank
    if not text.any():
        return np.full(len(blank), -1, np.int64), 0
    if separator == "file":  # blank lines inside the text are kept
        numbers = np.full(len(blank), -1, np.int64)
        lines = np.flatnonzero(text)
        numbers[lines[0] : lines[-1] + 1] = 0
        return numbers, 1
    begins = text if separator == "line" else text & np.append(True, blank[:-1])
    numbers = np.where(text, np.cumsum(begins) - 1, -1)
    return numbers.astype(np.int64), int(begins.sum())
