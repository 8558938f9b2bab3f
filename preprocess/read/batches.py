"""Batches of documents: what every form of input becomes, checked and counted in one place."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa

from preprocess.read.lines import find_blank
from preprocess.read.sources import InputFile

MAX_DOCUMENT_BYTES = 64 << 20
"""Longer documents are cut."""


@dataclass(frozen=True)
class Source:
    """What one file gave to a batch."""

    path: str
    unit: str
    """What its positions count: `byte` or `row`."""
    documents: int
    invalid: int = 0
    """Documents that contradict the file's encoding."""


@dataclass(frozen=True)
class DocumentBatch:
    """Consecutive documents of a task."""

    documents: pa.LargeStringArray
    """Its buffers begin with the first document and end with the last."""
    positions: np.ndarray
    """int64 `[documents]`: where each begins in its file, uncompressed and as UTF-8."""
    sources: tuple[Source, ...]
    """The files, in order."""
    bytes_read: int
    """Bytes of the stored files that this batch consumed."""
    counts: dict[str, int] = field(default_factory=dict)
    """What was dropped or repaired, by reason."""

    def place(self, index: int) -> tuple[str, str]:
        """The file of a document, and where in it."""
        index %= len(self.documents)
        last = np.cumsum([source.documents for source in self.sources])
        source = self.sources[int(np.searchsorted(last, index, "right"))]
        return source.path, f"{source.unit} {self.positions[index]}"


def batch_of_bytes(
    files: Sequence[InputFile],
    offsets: np.ndarray,
    text: np.ndarray | pa.Buffer,
    positions: np.ndarray,
    *,
    bytes_read: int,
    counts: Counter[str],
    unit: str = "byte",
    ends: np.ndarray | None = None,
) -> DocumentBatch:
    """Documents of bytes; what is not UTF-8 in them is replaced and counted.

    Args:
        files: where they come from.
        offsets: int64 `[documents + 1]`.
        text: uint8 `[offsets[-1]]`.
        positions: int64 `[documents]`.
        bytes_read: see `DocumentBatch`.
        counts: what was dropped or repaired before.
        unit: see `Source`.
        ends: int64 `[files]`: documents up to the end of each file; may be left out for one.
    """
    documents, replaced = _valid(offsets, text)
    counts["bytes_replaced"] += sum(replaced)
    ends = np.array([len(documents)]) if ends is None else ends
    invalid = np.cumsum([0, *(np.array(replaced or [0] * len(documents)) > 0)])[ends]
    sources = tuple(
        Source(file.path, unit, count, bad)
        for file, count, bad in zip(
            files,
            np.diff(ends, prepend=0).tolist(),
            np.diff(invalid, prepend=0).tolist(),
            strict=True,
        )
    )
    return DocumentBatch(documents, positions, sources, bytes_read, dict(+counts))


def batch_of_texts(
    file: InputFile,
    texts: pa.Array,
    positions: np.ndarray,
    *,
    bytes_read: int,
    counts: Counter[str],
    unit: str = "row",
) -> DocumentBatch:
    """Documents of records; those without text are left out, and those too long are cut.

    Args:
        file: where they come from.
        texts: `large_binary` or `large_string`, without nulls.
        positions: int64 `[texts]`.
        bytes_read: see `DocumentBatch`.
        counts: what was dropped or repaired before.
        unit: see `Source`.
    """
    offsets, data = _buffers(texts)
    keep = ~find_blank(np.frombuffer(data, np.uint8), offsets)
    if not keep.all():
        counts["blank_texts"] += int(np.count_nonzero(~keep))
        offsets, data = _buffers(texts.filter(pa.array(keep)))
        positions = positions[keep]
    if len(offsets) > 1 and np.diff(offsets).max() > MAX_DOCUMENT_BYTES:
        offsets, data, positions = _cut(offsets, data, positions, counts)
    return batch_of_bytes(
        [file], offsets, data, positions, bytes_read=bytes_read, counts=counts, unit=unit
    )


def texts_of(values: Sequence[str]) -> pa.Array:
    """Arrow's array of texts, in which bytes that are not UTF-8 are Python's surrogate escapes."""
    try:
        return pa.array(values, pa.large_string())
    except UnicodeEncodeError:
        return pa.array(
            [text.encode(errors="surrogateescape") for text in values], pa.large_binary()
        )


def join_batches(batches: list[DocumentBatch]) -> DocumentBatch:
    """One batch of several consecutive ones."""
    if len(batches) == 1:
        return batches[0]
    counts: Counter[str] = Counter()
    for batch in batches:
        counts.update(batch.counts)
    buffers = [_buffers(batch.documents) for batch in batches]
    ends = np.cumsum([0, *(offsets[-1] for offsets, _ in buffers)])
    offsets = [offsets[1:] + end for (offsets, _), end in zip(buffers, ends, strict=False)]
    return DocumentBatch(
        _strings(np.concatenate([[0], *offsets]), pa.py_buffer(b"".join(d for _, d in buffers))),
        np.concatenate([batch.positions for batch in batches]),
        tuple(source for batch in batches for source in batch.sources),
        sum(batch.bytes_read for batch in batches),
        dict(counts),
    )


def cut_point(data: bytes) -> int:
    """Where to cut a document that is too long: at a line's end, else between characters."""
    line_end = data.rfind(b"\n", 0, MAX_DOCUMENT_BYTES) + 1
    if line_end:
        return line_end
    end = MAX_DOCUMENT_BYTES
    while end > MAX_DOCUMENT_BYTES - 3 and data[end] & 0xC0 == 0x80:
        end -= 1
    return end


def _buffers(texts: pa.Array) -> tuple[np.ndarray, pa.Buffer]:
    """Offsets, int64 `[texts + 1]` from 0, and the bytes between the first and the last."""
    _, offsets_buffer, data = texts.buffers()
    if not len(texts):
        return np.zeros(1, np.int64), pa.py_buffer(b"")
    offsets = np.frombuffer(offsets_buffer, np.int64, len(texts) + 1, 8 * texts.offset)
    if data is None:
        data = pa.py_buffer(b"")
    return offsets - offsets[0], data.slice(offsets[0], offsets[-1] - offsets[0])


def _strings(offsets: np.ndarray, text: np.ndarray | pa.Buffer) -> pa.LargeStringArray:
    buffers = pa.py_buffer(offsets), text if isinstance(text, pa.Buffer) else pa.py_buffer(text)
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, *buffers)


def _valid(
    offsets: np.ndarray, text: np.ndarray | pa.Buffer
) -> tuple[pa.LargeStringArray, list[int]]:
    """Documents as Arrow strings; invalid UTF-8 becomes U+FFFD by Python's rules.

    Returns:
        The documents, and how many replacements each needed (an empty list if all are valid).
    """
    documents = _strings(offsets, text)
    try:
        documents.validate(full=True)
    except pa.ArrowInvalid:
        raw = bytes(text)
        texts, replaced = [], []
        for begin, end in pairwise(offsets):
            texts.append(raw[begin:end].decode("utf-8", "replace"))
            there = raw.count(b"\xef\xbf\xbd", begin, end)
            replaced.append(texts[-1].count("\ufffd") - there)
        return pa.array(texts, pa.large_string()), replaced
    return documents, []


def _cut(
    offsets: np.ndarray, data: pa.Buffer, positions: np.ndarray, counts: Counter[str]
) -> tuple[np.ndarray, pa.Buffer, np.ndarray]:
    """The same with documents that are too long in pieces."""
    raw = data.to_pybytes()
    ends, where = [0], []
    for (begin, end), position in zip(pairwise(offsets.tolist()), positions, strict=True):
        while end - begin > MAX_DOCUMENT_BYTES:
            begin += cut_point(raw[begin : begin + MAX_DOCUMENT_BYTES + 1])
            ends.append(begin)
            where.append(position)
            counts["documents_cut"] += 1
        ends.append(end)
        where.append(position)
    return np.array(ends, np.int64), data, np.array(where, np.int64)
