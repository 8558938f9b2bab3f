"""CSV and TSV to documents, by Python's own reader: a quoted field keeps its line breaks."""

import csv
import io
import sys
from collections.abc import Iterator

import numpy as np

from preprocess.errors import WholewordError
from preprocess.read import batches, streams
from preprocess.read.batches import DocumentBatch, batch_of_texts, texts_of
from preprocess.read.chunks import whole_documents
from preprocess.read.fields import RecordTexts, unknown_column
from preprocess.read.sources import ReadOptions, Split

_DELIMITERS = {"csv": ",", "tsv": "\t"}


def read_csv(split: Split, options: ReadOptions) -> Iterator[DocumentBatch]:
    """Documents of a file whose first row names the columns.

    Raises:
        WholewordError: a column is missing, a row has more or fewer fields than the first, or a
            quote is not closed.
    """
    lines = _Lines(split)
    rows = _rows(split, lines)
    _, names = next(rows, (1, []))
    columns = [_column(split, names, field) for field in options.text_fields]
    yield from _read_rows(split, options, lines, rows, names, columns)


def _column(split: Split, names: list[str], field: str) -> int:
    if field not in names:
        problem = "is not in it"
        if len(names) == 1:
            problem += " (what separates fields is a comma in .csv, a tab in .tsv)"
        raise unknown_column(split.file.path, field, names, problem)
    if names.count(field) > 1:
        raise WholewordError(
            f"{split.file.path}: two columns are called {field!r}; give them two names"
        )
    return names.index(field)


def _read_rows(
    split: Split,
    options: ReadOptions,
    lines: "_Lines",
    rows: Iterator[tuple[int, list[str]]],
    names: list[str],
    columns: list[int],
) -> Iterator[DocumentBatch]:
    records = RecordTexts(options)
    read = 0

    def batch() -> DocumentBatch:
        return batch_of_texts(
            split.file,
            texts_of(records.texts),
            np.array(records.positions, np.int64),
            bytes_read=lines.used - read,
            counts=records.counts,
        )

    for number, (line, row) in enumerate(rows, 1):
        if len(row) != len(names):
            raise WholewordError(
                f"{split.file.path}:{line}: {len(row)} fields, but the first row has {len(names)}; "
                "put quotes around a field that holds the separator, or mend the row"
            )
        text = options.field_separator.join(filter(None, (row[column] for column in columns)))
        records.texts.append(text)
        records.positions.append(number)
        records.characters += len(text)
        if records.characters >= streams.READ_BYTES:
            yield batch()
            records, read = RecordTexts(options), lines.used
    yield batch()


def _rows(split: Split, lines: "_Lines") -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, each with the number of its first line."""
    csv.field_size_limit(sys.maxsize)  # `_Lines` has the limit
    reader = csv.reader(lines, delimiter=_DELIMITERS[split.file.form], strict=True)
    while True:
        first = lines.number + 1
        lines.size = 0
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise _bad_row(split, first, str(error)) from error
        if row is None:
            return
        if row:
            yield first, row


def _bad_row(split: Split, line: int, reason: str) -> WholewordError:
    if "end of data" in reason:
        reason = "a quote that opens in this row is never closed"
    elif "new-line character" in reason:
        reason = "a carriage return outside quotes has no line feed behind it"
    return WholewordError(
        f"{split.file.path}:{line}: not {split.file.form.upper()} ({reason}); mend the row, or, if "
        "this is plain text, name the file .txt"
    )


class _Lines:
    """The lines of a split, one by one, as the csv module wants them."""

    def __init__(self, split: Split) -> None:
        self.used = 0
        """Bytes of the stored file."""
        self.number = 0
        """Lines given out."""
        self.size = 0
        """Characters given out since it was set to 0, at the beginning of a row."""
        self._split = split
        self._lines = self._read()

    def _read(self) -> Iterator[str]:
        for chunk in whole_documents(self._split, "record"):
            self.used += chunk.bytes_read
            yield from io.StringIO(chunk.data.decode(errors="surrogateescape"), newline="\n")

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        self.size += len(line)
        if self.size > batches.MAX_DOCUMENT_BYTES:
            limit = batches.MAX_DOCUMENT_BYTES >> 20
            raise csv.Error(f"a row of more than {limit} MiB, or a quote that is never closed")
        return line
