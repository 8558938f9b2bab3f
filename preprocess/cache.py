"""Where derived data is kept: compiled kernels, tables, jieba's dictionary."""

import functools
import os
import stat
import tempfile
from pathlib import Path


def cache_folder(name: str) -> Path:
    """A writable folder for derived data, created if need be.

    It is `$WHOLEWORD_CACHE/name`, else `$XDG_CACHE_HOME/wholeword/name`, else
    `~/.cache/wholeword/name`; where that cannot be written, a folder of this user's alone under the
    temporary directory. Its content is executed (numba's index is a pickle, jieba's cache is
    marshalled), so in the temporary directory, where anyone may create folders, the parent is
    checked too.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    preferred = Path(os.environ.get("WHOLEWORD_CACHE") or Path(home) / "wholeword") / name
    if is_usable(preferred):
        return preferred
    parent = Path(tempfile.gettempdir()) / f"wholeword-{os.getuid()}"
    if (
        _make(parent)
        and _is_private(parent)
        and _make(parent / name)
        and _is_private(parent / name)
    ):
        return parent / name
    folder = _new_folder() / name
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def is_usable(folder: Path) -> bool:
    """Whether the folder, created if need be, is this user's and can be written."""
    return _make(folder) and _is_ours(folder)


@functools.cache
def _new_folder() -> Path:
    """A folder that nobody else can have prepared; one per process."""
    return Path(tempfile.mkdtemp(prefix="wholeword-"))


def _make(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return False
    return True


def _is_ours(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK) and folder.stat().st_uid == os.getuid()


def _is_private(folder: Path) -> bool:
    """Whether nobody else can put anything into the folder, or another in its place."""
    status = folder.lstat()
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not others_write
