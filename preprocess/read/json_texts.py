"""JSON lines and JSON arrays to documents."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from preprocess.errors import WholewordError
from preprocess.read import batches, streams
from preprocess.read.batches import DocumentBatch, batch_of_texts, texts_of
from preprocess.read.chunks import Chunk, line_error, whole_documents
from preprocess.read.encodings import UTF8
from preprocess.read.fields import RecordTexts
from preprocess.read.sources import ReadOptions, Split

_SPACE = re.compile(r"[ \t\r\n]*")
_HALF = re.compile("[\ud800-\udfff]")
_HALF_BUT_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_NOT_UTF8 = "\udcff"
"""The surrogate escape of a byte that UTF-8 never has."""


def is_json_lines(sample: bytes) -> bool:
    """Whether a `.json` file that begins so has a whole object on its first line."""
    line = sample.removeprefix(codecs.BOM_UTF8).lstrip().split(b"\n", 1)[0]
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def read_json_lines(split: Split, options: ReadOptions) -> Iterator[DocumentBatch]:
    """Documents of a split in which each line is an object.

    Raises:
        WholewordError: a line is no object, or (see `RecordTexts`) has no text.
    """
    for chunk in whole_documents(split, "record"):
        records = RecordTexts(options)
        begins, ends, blank = chunk.lines
        records.counts["blank_lines"] = int(np.count_nonzero(blank))
        lines = np.flatnonzero(~blank)
        for begin, end in zip(begins[lines].tolist(), ends[lines].tolist(), strict=True):
            record = _parse(split, chunk, begin, end)
            if problem := records.add(record, chunk.position + begin):
                raise line_error(split, chunk.position + begin, problem)
        if missing := records.missing_everywhere():
            raise line_error(split, missing[0], missing[1])
        yield _batch(split, records, chunk.bytes_read, "byte")


def _batch(split: Split, records: RecordTexts, bytes_read: int, unit: str) -> DocumentBatch:
    return batch_of_texts(
        split.file,
        texts_of(records.texts),
        np.array(records.positions, np.int64),
        bytes_read=bytes_read,
        counts=records.counts,
        unit=unit,
    )


def _parse(split: Split, chunk: Chunk, begin: int, end: int) -> dict[str, Any]:
    line = chunk.data[begin:end]
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:  # not UTF-8, half a character, NaN: Python's own takes them
        try:
            record = _loads(line)
        except (ValueError, RecursionError) as error:
            raise line_error(
                split,
                chunk.position + begin,
                f"not a JSON object ({error}); mend or remove the line",
            ) from error
    if not isinstance(record, dict):
        raise line_error(
            split, chunk.position + begin, "not a JSON object; mend or remove the line"
        )
    return record


def _loads(line: bytes) -> Any:
    """What Python's parser reads; bytes that are not UTF-8 become surrogate escapes."""
    text = line.decode(errors="surrogateescape")
    pattern = _HALF if text.isascii() or line == text.encode(errors="replace") else _HALF_BUT_BYTES
    return _mark_halves(json.loads(text), pattern)


def _mark_halves(value: Any, pattern: re.Pattern[str]) -> Any:
    """The value, in whose texts halves of characters, which JSON can spell, are not UTF-8."""
    if isinstance(value, str):
        return pattern.sub(_NOT_UTF8, value)
    if isinstance(value, dict):
        return {key: _mark_halves(item, pattern) for key, item in value.items()}
    return value


def read_json(split: Split, options: ReadOptions) -> Iterator[DocumentBatch]:
    """Documents of a file that is one array of objects, or objects one after the other.

    Raises:
        WholewordError: it is neither, or (see `RecordTexts`) a record has no text.
    """
    values = _Values(split)
    records = RecordTexts(options)
    read = 0
    for number, record in enumerate(values):
        if not isinstance(record, dict):
            raise values.error(f"element {number} is not an object; mend or remove it")
        if problem := records.add(record, number):
            raise values.error(f"element {number}: {problem}")
        if records.characters >= streams.READ_BYTES:
            yield _json_batch(split, records, values.used - read)
            records, read = RecordTexts(options), values.used
    yield _json_batch(split, records, values.used - read)


def _json_batch(split: Split, records: RecordTexts, bytes_read: int) -> DocumentBatch:
    if missing := records.missing_everywhere():
        problem = f"element {missing[0]}: {missing[1]}"
        raise WholewordError(f"{split.file.path}: {problem}")
    return _batch(split, records, bytes_read, "row")


class _Values:
    """The values of a JSON text, of which only the one that is being read is in memory."""

    def __init__(self, split: Split) -> None:
        self.used = 0
        """Bytes of the stored file."""
        self._split = split
        self._pieces = streams.utf8_pieces(split.file, split.begin, split.end)
        self._decoder = codecs.getincrementaldecoder(UTF8)(errors="surrogateescape")
        self._scan = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._line = 1
        self._ended = False
        self._more()
        self._text = self._text.removeprefix("\ufeff")

    def error(self, problem: str) -> WholewordError:
        """The error about the value that was last read."""
        return WholewordError(f"{self._split.file.path}:{self._line}: {problem}")

    def __iter__(self) -> Iterator[Any]:
        first = self._next_character()
        if first == "{":
            while self._next_character():
                yield self._value()
            return
        if first != "[":
            raise self.error("neither a JSON array nor objects; mend the file, or name it .txt")
        self._at += 1
        if self._next_character() == "]":
            self._at += 1
        else:
            while True:
                yield self._value()
                mark = self._next_character()
                if mark not in ("]", ","):
                    raise self.error("not JSON (a comma or ] is missing); mend the file")
                self._at += 1
                if mark == "]":
                    break
                self._next_character()
        if self._next_character():
            raise self.error("not JSON (something follows the array); mend the file")

    def _next_character(self) -> str:
        """The next one that is no white space, nothing at the end."""
        while True:
            end = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            self._line += self._text.count("\n", self._at, end)
            self._at = end
            if end < len(self._text):
                return self._text[end]
            if not self._more():
                return ""

    def _value(self) -> Any:
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except (ValueError, RecursionError) as error:
                size = len(self._text) - self._at
                if size > batches.MAX_DOCUMENT_BYTES:
                    limit = batches.MAX_DOCUMENT_BYTES >> 20
                    raise self.error(
                        f"not JSON ({error}), or an element of more than {limit} MiB; mend the "
                        "file, or cut the element into several"
                    ) from error
                if not self._more(size):
                    raise self.error(f"not JSON ({error}); mend the file") from error
                continue
            if end == len(self._text) and self._more():
                continue  # it may be a number, and go on
            self._line += self._text.count("\n", self._at, end)
            self._at = end
            return _mark_halves(value, _HALF_BUT_BYTES)

    def _more(self, size: int = 1) -> bool:
        """Read on, `size` characters at least; whether there was anything."""
        pieces = [self._text[self._at :]]
        read = 0
        while read < size and not self._ended:
            data, used = next(self._pieces, (b"", 0))
            self._ended = not data and not used
            self.used += used
            pieces.append(self._decoder.decode(data, self._ended))
            read += len(pieces[-1])
        self._text = "".join(pieces)
        self._at = 0
        return read > 0
