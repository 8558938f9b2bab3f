"""Tables on disk: built once, named by a hash of what they were built from, mapped by workers.

A file is a header line of JSON (names, dtypes, shapes, offsets) and the arrays behind it, each
aligned to 64 bytes. It is written under a temporary name and renamed, so that two builders do no
harm; its own hash stands in the last 8 bytes, so that an incomplete or damaged file is built again.
"""

import contextlib
import importlib.metadata
import json
import mmap
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xxhash

from preprocess.cache import cache_folder
from preprocess.files import write_bytes

Tables = dict[str, np.ndarray]

_ALIGNMENT = 64
_HASH_BYTES = 8


def cached_tables(name: str, key: str, build: Callable[[], Tables]) -> Tables:
    """The tables that `build` makes, read-only; from the cache if they are there.

    Args:
        name: what they are, for the file's name.
        key: a hash of everything that they are built from.
        build: makes them.
    """
    path = cache_folder("tables") / f"{name}-{content_key(key.encode(), *_code())}.tables"
    tables = _load(path)
    if tables is not None:
        return tables
    content = _serialize(build())
    # A full disk costs only the time to build again.
    with contextlib.suppress(OSError):
        write_bytes(path, content, shared=True)
    return _load(path) or _parse(memoryview(content))


def content_key(*parts: bytes) -> str:
    """A hash of byte strings and of where one ends and the next begins."""
    digest = xxhash.xxh3_128()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def tokenizer_key(tokenizer_json: str) -> str:
    """A hash of a tokenizer (or of "", for what all have in common) and of what answers for it."""
    return content_key(
        importlib.metadata.version("tokenizers").encode(),
        unicodedata.unidata_version.encode(),
        sys.byteorder.encode(),
        tokenizer_json.encode(),
    )


def _code() -> list[bytes]:
    """The sources that tables are made by, so that an edit makes new ones."""
    package = Path(__file__).parent
    sources = [
        *package.glob("*.py"),
        package.parents[1] / "read" / "unicode.py",
        package.parent / "sentences.py",
    ]
    return [source.read_bytes() for source in sorted(sources)]


def _load(path: Path) -> Tables | None:
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # not there, or empty
        return None
    view = memoryview(mapped)
    if xxhash.xxh3_64_digest(view[:-_HASH_BYTES]) != bytes(view[-_HASH_BYTES:]):
        return None
    return _parse(view)


def _parse(view: memoryview) -> Tables:
    length = int.from_bytes(view[:8], "little")
    header = json.loads(bytes(view[8 : 8 + length]))
    return {
        name: np.frombuffer(view, dtype=dtype, count=int(np.prod(shape)), offset=offset).reshape(
            shape
        )
        for name, dtype, shape, offset in header
    }


def _serialize(tables: Tables) -> bytes:
    header: list[tuple[str, str, tuple[int, ...], int]] = []
    # The header's length depends on the offsets in it; room for 20 digits each is enough.
    room = 8 + sum(100 + len(name) for name in tables)
    offset = _aligned(room)
    for name, array in tables.items():
        header.append((name, array.dtype.str, array.shape, offset))
        offset = _aligned(offset + array.nbytes)
    encoded = json.dumps(header).encode()
    assert 8 + len(encoded) <= _aligned(room)
    content = bytearray(offset)
    content[:8] = len(encoded).to_bytes(8, "little")
    content[8 : 8 + len(encoded)] = encoded
    for (_, _, _, begin), array in zip(header, tables.values(), strict=True):
        content[begin : begin + array.nbytes] = array.tobytes()
    return bytes(content) + xxhash.xxh3_64_digest(content)


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
