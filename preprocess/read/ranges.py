"""A file at an address as a stream: read by ranges, the next one fetched while one is used."""

import io
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO, cast

import pyarrow as pa

from preprocess.addresses import is_address
from preprocess.places import Place

LOOK = 64 << 10
"""Bytes that are fetched to look for the end of a line, or for what stands at a table's end."""

BLOCK = 8 << 20
"""Bytes that are fetched at once: enough that the answer's delay does not matter."""


class RangeReader(io.RawIOBase):
    """A stream of a part of an object.

    Args:
        address: of the object.
        size: its bytes.
        block: fewest bytes of a request; 0 to fetch what is asked for and no more.
        until: where reading ahead ends; 0 not to read ahead.
    """

    def __init__(self, address: str, size: int, block: int = BLOCK, until: int = 0) -> None:
        super().__init__()
        self._place, self._size, self._least, self._until = Place(address), size, block, until
        self._at = 0
        self._held = (0, b"")
        self._ahead: tuple[int, Future[bytes]] | None = None
        self._pool = ThreadPoolExecutor(1) if until else None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes; fewer at the end alone.

        Raises:
            OSError: they cannot be fetched.
        """
        wanted = self._size - self._at if size is None or size < 0 else size
        end = min(self._at + wanted, self._size)
        pieces = []
        while self._at < end:
            begin, data = self._held
            if not begin <= self._at < begin + len(data):
                begin, data = self._held = self._at, self._fetch(self._at, end)
            if not data:  # it became shorter
                break
            pieces.append(data[self._at - begin : end - begin])
            self._at += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readinto(self, buffer: "bytearray | memoryview", /) -> int:  # type: ignore[override]
        """The same into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Forget what was read ahead."""
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)
        super().close()

    def _fetch(self, begin: int, end: int) -> bytes:
        ahead, self._ahead = self._ahead, None
        if ahead and ahead[0] == begin:
            data = ahead[1].result()
        else:
            limit = max(self._until, end) if self._until else self._size
            data = self._place.read_range(begin, min(max(end, begin + self._least), limit))
        following = begin + len(data)
        if self._pool and following < self._until:
            until = min(following + self._least, self._until)
            self._ahead = following, self._pool.submit(self._place.read_range, following, until)
        return data


@contextmanager
def opened(name: str, size: int, begin: int = 0, end: int = 0) -> Iterator[pa.NativeFile]:
    """A file, on a disk or at an address, as Arrow reads it: from `begin` on, up to `end` or so.

    Raises:
        OSError: it cannot be opened.
    """
    if not is_address(name):
        with pa.OSFile(name) as file:
            file.seek(begin)
            yield file
        return
    with RangeReader(name, size, until=end) as reader:
        reader.seek(begin)
        yield pa.PythonFile(reader, "r")


@contextmanager
def opened_to_look(name: str, size: int) -> Iterator[BinaryIO]:
    """The same as Python reads it, for looking at a few places far from each other."""
    stream = (
        RangeReader(name, size, LOOK) if is_address(name) else open(name, "rb")  # noqa: PTH123, SIM115
    )
    with stream:
        yield cast(BinaryIO, stream)
