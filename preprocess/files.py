"""The one way to write a file: it gets its name only when it is complete and on disk."""

import errno
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import xxhash

from preprocess.cache import cache_folder
from preprocess.places import Place

# What torch.save says of a full disk names the file of its own source, and safetensors the error.
_NO_ROOM = ("inline_container.cc", "No space left on device", "Disk quota exceeded")


def first_step(error: Exception) -> str:
    """What to do before a command whose file could not be written is run again, in words."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return "make room" if full or any(text in str(error) for text in _NO_ROOM) else "mend that"


def sync(path: Path) -> None:
    """Put a file's bytes, or a folder's names, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Put a folder on disk with everything in it."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def publish(temporary: Path, path: Path) -> None:
    """Give a finished file (or folder, whose content is on disk) its name, for good.

    Its bytes are on disk before the name is, and the name is when this returns.
    """
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def beside(path: Path) -> Path:
    """A path beside `path` that nobody else writes to, on any machine: `.NAME.RANDOM.tmp`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


@contextmanager
def written(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """A path to write to: published as `path` after the block, removed after an error.

    It is beside `path`; of an address, in the temporary directory of this machine.

    Args:
        path: the file that is whole or absent.
        shared: whether other processes, or other machines, may be writing it at this moment.
    """
    if isinstance(path, Place):
        with tempfile.TemporaryDirectory(prefix="wholeword-") as folder:
            yield (temporary := Path(folder) / path.name)
            path.put(temporary)
        return
    temporary = beside(path) if shared else path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes, *, shared: bool = False) -> None:
    """Write bytes so that the file is whole or absent; `shared` as for `written`."""
    if isinstance(path, Place):
        path.write_bytes(data)
        return
    with written(path, shared=shared) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str, *, shared: bool = False) -> None:
    """Write UTF-8 so that the file is whole or absent; `shared` as for `written`."""
    write_bytes(path, text.encode(), shared=shared)


def write_json(path: Path, value: object, *, shared: bool = False) -> None:
    """Write JSON so that the file is whole or absent; `shared` as for `written`."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n", shared=shared)


def create(path: Path, data: bytes) -> bool:
    """Write bytes where there is no file yet, whole; whether there was none.

    Of several who try at once, on any machine, one succeeds (on object stores that can refuse to
    replace an object).
    """
    if isinstance(path, Place):
        return path.create(data)
    temporary = beside(path)
    temporary.write_bytes(data)
    sync(temporary)
    try:
        os.link(temporary, path)  # fails where it exists, on file systems of networks too
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def map_file(path: Path) -> pa.Buffer:
    """A file's bytes: mapped, not read; of an address, read.

    Raises:
        OSError: it is missing, or cannot be read.
    """
    if isinstance(path, Place):
        return pa.py_buffer(path.read_bytes())
    with pa.memory_map(str(path)) as source:
        return source.read_buffer()


def local_copy(path: Path) -> Path:
    """The file itself; of an object, a copy on this machine, which all its processes share.

    Raises:
        OSError: it is missing, or cannot be copied.
    """
    if not isinstance(path, Place):
        return path
    copy = _copies(path.parent) / f"{path.stored().mark:016x}-{path.name}"
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        with written(copy, shared=True) as temporary:
            path.fetch(temporary)
    return copy


def forget_copies(folder: Path) -> None:
    """Remove the copies of what is in a folder at an address."""
    if isinstance(folder, Place):
        shutil.rmtree(_copies(folder), ignore_errors=True)


def _copies(folder: Place) -> Path:
    return cache_folder("copies") / xxhash.xxh3_64_hexdigest(str(folder).encode())


def remove(path: Path) -> None:
    """Remove a file, or a folder with everything in it, if it is there."""
    if isinstance(path, Place):
        path.remove_tree()
    elif path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
