"""A text file's bytes: read, decompressed, and made UTF-8, some megabytes at a time."""

import bz2
import lzma
from collections.abc import Callable, Iterator

import pyarrow as pa

from preprocess.read.encodings import UTF8, to_utf8
from preprocess.read.ranges import opened
from preprocess.read.sources import InputFile

READ_BYTES = 4 << 20
"""Bytes read at once: enough to amortise a kernel's call, small enough to stay in memory."""
XZ_MEMORY = 256 << 20
"""What `.xz` may ask for; its highest level asks for 65 MiB."""
_ARROWS = {".gz": "gzip", ".zst": "zstd"}


def utf8_pieces(file: InputFile, begin: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Pieces of text, and how many bytes of the stored file each consumed.

    Args:
        file: a text file of any encoding and compression.
        begin: where to begin; 0 for a compressed file.
        end: where to end; the file's size for a compressed file.

    Raises:
        OSError: the file cannot be read, is damaged, or became shorter.
    """
    pieces = unpacked(file, begin, end, READ_BYTES)
    return pieces if file.encoding == UTF8 else to_utf8(pieces, file.encoding)


def to_utf8_once(data: bytes, encoding: str) -> bytes:
    """The beginning of a file as UTF-8."""
    if encoding == UTF8:
        return data
    return b"".join(piece for piece, _ in to_utf8(iter([(data, 0)]), encoding))


def unpacked(file: InputFile, begin: int, end: int, size: int) -> Iterator[tuple[bytes, int]]:
    """The same in the file's own encoding, in pieces of at most `size` bytes."""
    compression = file.compression
    with opened(file.path, file.bytes, begin, end) as raw:
        if not compression:
            yield from _plain(raw, end - begin, size)
            return
        pieces = (
            _arrows(raw, _ARROWS[compression], size)
            if compression in _ARROWS
            else _streams(raw, compression, size)
        )
        before = 0
        for data in pieces:
            used = raw.tell()
            yield data, used - before
            before = used


def _plain(raw: pa.NativeFile, left: int, size: int) -> Iterator[tuple[bytes, int]]:
    while left:
        data = raw.read(min(size, left))
        if not data:
            raise OSError(f"it became shorter: {left} bytes are missing")
        left -= len(data)
        yield data, len(data)


def _arrows(raw: pa.NativeFile, codec: str, size: int) -> Iterator[bytes]:
    with pa.CompressedInputStream(raw, codec) as stream:
        while data := stream.read(size):
            yield data


def _streams(raw: pa.NativeFile, compression: str, size: int) -> Iterator[bytes]:
    """`.bz2` and `.xz`, of which a file may hold several streams one after the other."""
    make: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor] = bz2.BZ2Decompressor
    if compression == ".xz":
        make = lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY)  # noqa: E731
    stream = make()
    data = raw.read(size)
    try:
        while data or not (stream.eof or stream.needs_input):
            if piece := stream.decompress(data, size):
                yield piece
            data = b""
            if stream.eof:
                data = stream.unused_data
                data = data.lstrip(b"\0") if compression == ".xz" else data  # (padding)
                if data := data or raw.read(size):
                    stream = make()
            elif stream.needs_input:
                data = raw.read(size)
    except lzma.LZMAError as error:
        raise OSError(str(error)) from error
    if not stream.eof:
        raise OSError("it ends in the middle")
