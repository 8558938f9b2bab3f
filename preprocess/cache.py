"""Where derived data is kept: compiled kernels, tables, jieba's dictionary."""

import os
import stat
import tempfile
from pathlib import Path


def cache_folder(name: str) -> Path:
    """A writable folder for derived data, made if need be.

    It is `$WHOLEWORD_CACHE/name`, else `$XDG_CACHE_HOME/wholeword/name`, else
    `~/.cache/wholeword/name`; where that cannot be written, a folder of this user's alone under the
    temporary directory. What is in it is run (numba's index is a pickle, jieba's cache is
    marshalled), so in the temporary directory, where anybody may make folders, its parents are
    checked too.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    preferred = Path(os.environ.get("WHOLEWORD_CACHE") or Path(home) / "wholeword") / name
    if _make(preferred) and _is_ours(preferred):
        return preferred
    parent = Path(tempfile.gettempdir()) / f"wholeword-{os.getuid()}"
    if (
        _make(parent)
        and _is_private(parent)
        and _make(parent / name)
        and _is_private(parent / name)
    ):
        return parent / name
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
