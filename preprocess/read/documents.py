"""Splits to documents: reads, finds lines, repairs UTF-8, and parses JSON lines.

A line ends at a line feed; one carriage return before it is dropped. A split begins and ends where
documents do, so the documents do not depend on how the input was split.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa

from preprocess.errors import WholewordError
from preprocess.read.lines import find_lines, gather_documents
from preprocess.read.sources import COMPRESSIONS, InputFile, Split, reading

READ_BYTES = 4 << 20
"""Bytes read at once: enough to amortise a kernel's call, small enough to stay in memory."""
MAX_DOCUMENT_BYTES = 64 << 20
"""Longer documents are cut."""
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class DocumentBatch:
    """Consecutive documents of one split."""

    documents: pa.LargeStringArray
    positions: np.ndarray
    """int64 `[documents]`: where each begins in the (uncompressed) file, in bytes."""
    path: str
    bytes_read: int
    """Bytes of the split that this batch consumed."""
    counts: dict[str, int] = field(default_factory=dict)
    """What was dropped or repaired, by reason."""
    invalid: int = 0
    """Documents that are not valid UTF-8."""


def read_documents(split: Split, separator: str, text_field: str) -> Iterator[DocumentBatch]:
    """The documents of a split, in order, in batches of about `READ_BYTES`.

    Raises:
        WholewordError: the file changed or cannot be read, or a JSON line is malformed.
    """
    file = split.file
    with reading(file):
        for chunk in _whole_documents(split, "json" if file.is_jsonl else separator):
            if file.is_jsonl:
                yield _parse_json_lines(file, chunk, text_field)
            else:
                yield _gather(file, chunk, separator)


@dataclass(frozen=True)
class _Chunk:
    """Bytes that hold whole documents, and the lines in them."""

    data: bytes
    position: int
    """Where the bytes begin in the (uncompressed) file."""
    bytes_read: int
    cut: bool = False
    """Whether the chunk is the first piece of a document that was too long."""

    @property
    def lines(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Begins, ends and blankness of the lines."""
        return find_lines(np.frombuffer(self.data, np.uint8))


def _whole_documents(split: Split, mode: str) -> Iterator[_Chunk]:
    """Read a split as chunks that end where a document ends; only the first can be too long."""
    held = b""
    position = split.begin
    for data, bytes_read in _read(split):
        held += data
        if position == 0 and held.startswith(_BOM):
            held = held[len(_BOM) :]
            position = len(_BOM)
        boundaries = _boundaries(held, mode)
        while mode != "json" and _first_end(held, boundaries) > MAX_DOCUMENT_BYTES:
            end = _cut_point(held)
            yield _Chunk(held[:end], position, 0, cut=True)
            position += end
            held = held[end:]
            boundaries = _boundaries(held, mode)
        end = boundaries[-1] if boundaries else 0
        yield _Chunk(held[:end], position, bytes_read)
        position += end
        held = held[end:]
    if held:
        yield _Chunk(held, position, 0)


def _read(split: Split) -> Iterator[tuple[bytes, int]]:
    """Pieces of (uncompressed) data, and how many bytes of the split each consumed."""
    compression = split.file.compression
    with pa.OSFile(split.file.path) as raw:
        raw.seek(split.begin)
        if not compression:
            left = split.end - split.begin
            while left:
                data = raw.read(min(READ_BYTES, left))
                if not data:
                    raise OSError(f"it became shorter: {left} bytes are missing")
                left -= len(data)
                yield data, len(data)
            return
        before = 0
        with pa.CompressedInputStream(raw, COMPRESSIONS[compression]) as stream:
            while data := stream.read(READ_BYTES):
                used = raw.tell()
                yield data, used - before
                before = used


def _boundaries(data: bytes, mode: str) -> tuple[int, ...]:
    """The first and the last position, above 0, at which a document has surely ended."""
    if mode == "file":
        return ()
    if mode != "blank-line":
        last = data.rfind(b"\n") + 1
        return (data.find(b"\n") + 1, last) if last else ()
    begins, _, blank = find_lines(np.frombuffer(data, np.uint8))
    following = np.append(begins[1:], len(data))
    if not data.endswith(b"\n"):
        following, blank = following[:-1], blank[:-1]
    ended = following[blank]
    return (int(ended[0]), int(ended[-1])) if len(ended) else ()


def _first_end(data: bytes, boundaries: tuple[int, ...]) -> int:
    """Where the first document ends, or the data; the line feed that ends it is not counted."""
    return boundaries[0] - 1 if boundaries else len(data)


def _cut_point(data: bytes) -> int:
    """Where to cut a document that is too long: at a line's end, else between characters."""
    line_end = data.rfind(b"\n", 0, MAX_DOCUMENT_BYTES) + 1
    if line_end:
        return line_end
    end = MAX_DOCUMENT_BYTES
    while end > MAX_DOCUMENT_BYTES - 3 and data[end] & 0xC0 == 0x80:
        end -= 1
    return end


def _gather(file: InputFile, chunk: _Chunk, separator: str) -> DocumentBatch:
    begins, ends, blank = chunk.lines
    numbers, count = _number_lines(blank, separator)
    offsets, text = gather_documents(
        np.frombuffer(chunk.data, np.uint8), begins, ends, numbers, count
    )
    first_lines = np.searchsorted(numbers[numbers >= 0], np.arange(count))
    counts = Counter(documents_cut=int(chunk.cut))
    if separator == "line":
        counts["blank_lines"] = int(blank.sum())
    documents, replaced = _valid(offsets, text)
    counts["bytes_replaced"] = sum(replaced)
    return DocumentBatch(
        documents,
        begins[numbers >= 0][first_lines] + chunk.position,
        file.path,
        chunk.bytes_read,
        dict(+counts),
        len(replaced) - replaced.count(0),
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


def _valid(offsets: np.ndarray, text: np.ndarray) -> tuple[pa.LargeStringArray, list[int]]:
    """Documents as Arrow strings; invalid UTF-8 becomes U+FFFD by Python's rules.

    Returns:
        The documents, and how many replacements each needed (an empty list if all are valid).
    """
    documents = pa.LargeStringArray.from_buffers(
        len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(text)
    )
    try:
        documents.validate(full=True)
    except pa.ArrowInvalid:
        raw = text.tobytes()
        texts, replaced = [], []
        for begin, end in pairwise(offsets):
            texts.append(raw[begin:end].decode("utf-8", "replace"))
            there = raw.count(b"\xef\xbf\xbd", begin, end)
            replaced.append(texts[-1].count("\ufffd") - there)
        return pa.array(texts, pa.large_string()), replaced
    return documents, []


def _parse_json_lines(file: InputFile, chunk: _Chunk, text_field: str) -> DocumentBatch:
    texts: list[str] = []
    positions: list[int] = []
    counts: Counter[str] = Counter()
    invalid = 0
    for begin, end, blank in zip(*chunk.lines, strict=True):
        if blank:
            counts["blank_lines"] += 1
            continue
        position = chunk.position + int(begin)
        text, replaced = _json_text(file, position, chunk.data[begin:end], text_field)
        counts["bytes_replaced"] += replaced
        invalid += replaced > 0
        if not text.strip():
            counts["blank_texts"] += 1
            continue
        pieces = _cut_text(text)
        counts["documents_cut"] += len(pieces) - 1
        texts += pieces
        positions += [position] * len(pieces)
    return DocumentBatch(
        pa.array(texts, pa.large_string()),
        np.array(positions, np.int64),
        file.path,
        chunk.bytes_read,
        dict(+counts),
        invalid,
    )


def _json_text(file: InputFile, position: int, line: bytes, field: str) -> tuple[str, int]:
    """The text of one JSON line, and how many characters of it had to be replaced."""
    decoded = line.decode("utf-8", "replace")
    replaced = decoded.count("\ufffd") - line.count(b"\xef\xbf\xbd")
    try:
        value = json.loads(decoded)
    except (ValueError, RecursionError) as error:
        reason = f"not a JSON object ({error})"
        raise _bad_line(file, position, f"{reason}; mend or remove the line") from error
    if not isinstance(value, dict) or not isinstance(value.get(field), str):
        raise _bad_line(
            file, position, f"no text in the field {field!r}; name the field with --text-field"
        )
    text = value[field]
    surrogates = sum("\ud800" <= character <= "\udfff" for character in text)
    if surrogates:  # JSON can spell half a character; UTF-8 cannot
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text, replaced + surrogates


def _bad_line(file: InputFile, position: int, problem: str) -> WholewordError:
    line = 1
    whole = Split(file, 0, file.bytes)
    for data, _ in _read(whole):
        line += data[:position].count(b"\n")
        position -= len(data)
        if position <= 0:
            break
    return WholewordError(f"{file.path}:{line}: {problem}")


def _cut_text(text: str) -> list[str]:
    data = text.encode()
    pieces = []
    while len(data) > MAX_DOCUMENT_BYTES:
        end = _cut_point(data)
        pieces.append(data[:end].decode())
        data = data[end:]
    return [*pieces, data.decode()] if pieces else [text]
