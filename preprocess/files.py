"""The one way to write a file: it gets its name only when it is complete and on disk."""

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    """A path beside `path` to write to: published after the block, removed after an error.

    Args:
        path: the file that is whole or absent.
        shared: whether other processes, or other machines, may be writing it at this moment.
    """
    temporary = beside(path) if shared else path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes, *, shared: bool = False) -> None:
    """Write bytes so that the file is whole or absent; `shared` as for `written`."""
    with written(path, shared=shared) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str, *, shared: bool = False) -> None:
    """Write UTF-8 so that the file is whole or absent; `shared` as for `written`."""
    write_bytes(path, text.encode(), shared=shared)


def write_json(path: Path, value: object, *, shared: bool = False) -> None:
    """Write JSON so that the file is whole or absent; `shared` as for `written`."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n", shared=shared)
