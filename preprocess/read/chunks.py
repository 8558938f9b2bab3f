"""A text split to chunks that hold whole documents or whole lines."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from preprocess.errors import WholewordError
from preprocess.read import batches
from preprocess.read.batches import cut_point
from preprocess.read.lines import find_lines
from preprocess.read.sources import InputFile, Split
from preprocess.read.streams import utf8_pieces

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Chunk:
    """Bytes that hold whole documents, as UTF-8, and the lines in them."""

    data: bytes
    position: int
    """Where the bytes begin in the (uncompressed) file."""
    bytes_read: int
    cut: bool = False
    """Whether the chunk is the first piece of a document that was too long."""

    @cached_property
    def lines(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Begins, ends and blankness of the lines."""
        return find_lines(np.frombuffer(self.data, np.uint8))


def whole_documents(split: Split, mode: str) -> Iterator[Chunk]:
    """Read a split as chunks that end where a document ends; only the first can be too long.

    Args:
        split: of a text file.
        mode: what ends a document: `line`, `blank-line` or `file`; `record` is a line that must
            not be cut.

    Raises:
        WholewordError: a record's line is too long.
    """
    held = b""
    waiting: list[bytes] = []  # read after `held`, without a line feed; joined once
    position = split.begin
    used = 0
    for data, more in utf8_pieces(split.file, split.begin, split.end):
        used += more
        waiting.append(data)
        size = len(held) + sum(map(len, waiting))
        by_line = mode in ("line", "record")
        if by_line and b"\n" not in data and size <= batches.MAX_DOCUMENT_BYTES:
            continue
        held = b"".join([held, *waiting])
        waiting.clear()
        if position == 0 and held.startswith(BOM):
            held = held[len(BOM) :]
            position = len(BOM)
        boundaries = _boundaries(held, mode)
        while _first_end(held, boundaries) > batches.MAX_DOCUMENT_BYTES:
            if mode == "record":
                raise line_error(split, position, TOO_LONG)
            end = cut_point(held)
            yield Chunk(held[:end], position, 0, cut=True)
            position += end
            held = held[end:]
            boundaries = _boundaries(held, mode)
        end = boundaries[-1] if boundaries else 0
        yield Chunk(held[:end], position, used)
        used = 0
        position += end
        held = held[end:]
    rest = b"".join([held, *waiting])
    if position == 0 and rest.startswith(BOM):
        rest = rest[len(BOM) :]
        position = len(BOM)
    if rest or used:
        yield Chunk(rest, position, used)


TOO_LONG = (
    f"a line of more than {batches.MAX_DOCUMENT_BYTES >> 20} MiB, which no record may have; cut "
    "the record into several"
)


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


def line_error(split: Split, position: int, problem: str) -> WholewordError:
    """The error about a line, by its number.

    Args:
        split: where it is.
        position: where it begins, as `Chunk.position` counts.
        problem: the cause and the remedy.
    """
    line = 1
    if split.begin:
        line += _count_lines(split.file, 0, split.begin, sys.maxsize)
    line += _count_lines(split.file, split.begin, split.end, position - split.begin)
    return WholewordError(f"{split.file.path}:{line}: {problem}")


def _count_lines(file: InputFile, begin: int, end: int, until: int) -> int:
    """Line feeds in the first `until` bytes, as UTF-8, of a piece of a file."""
    lines = 0
    for data, _ in utf8_pieces(file, begin, end):
        if until <= 0:
            break
        lines += data[:until].count(b"\n")
        until -= len(data)
    return lines
