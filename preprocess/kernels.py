"""The one way to compile a numba kernel here: `from preprocess.kernels import kernel`.

numba's cache does not notice an edit in a callee that lives in another file, and raises where no
cache folder is writable. So the cache folder is named by a hash of every source file that imports
from here, and is chosen here, before numba is imported for the first time. Constants that a kernel
reads therefore live in a file that holds kernels.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import xxhash

from preprocess.cache import cache_folder, is_usable

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("preprocess", "train")
_MAX_AGE = 30 * 24 * 3600.0
"""Seconds after which an unused cache is removed."""

Function = TypeVar("Function", bound=Callable[..., Any])


def _sources_hash() -> str:
    digest = xxhash.xxh3_64(str(_ROOT).encode())  # numba keys its files by their place, too
    for package in _PACKAGES:
        for source in sorted((_ROOT / package).rglob("*.py")):
            text = source.read_bytes()
            if b"preprocess.kernels import" in text:
                digest.update(source.relative_to(_ROOT).as_posix().encode() + text)
    return digest.hexdigest()


def _choose_cache() -> Path:
    """The folder of these sources' kernels, in `NUMBA_CACHE_DIR` if the user has set one.

    A folder that cannot be written is not used: numba would silently take `__pycache__` instead,
    which does not know the hash.
    """
    name = f"numba-{_sources_hash()}"
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        # A child inherits what its parent has chosen.
        folder = Path(given) if Path(given).name == name else Path(given) / name
        if is_usable(folder):
            return folder
    return cache_folder(name)


def _remove_unused(current: Path) -> None:
    """Remove kernels of other sources that have not been used for a month."""
    with contextlib.suppress(OSError):
        os.utime(current)
        for other in current.parent.glob("numba-*"):
            if other != current and time.time() - other.stat().st_mtime > _MAX_AGE:
                shutil.rmtree(other, ignore_errors=True)


_cache = _choose_cache()
_remove_unused(_cache)
os.environ["NUMBA_CACHE_DIR"] = str(_cache)

import numba  # noqa: E402  (the cache folder must be set first)


def kernel(function: Function) -> Function:
    """Compile a pure function of arrays: cached on disk, serial, without the interpreter lock."""
    return cast(Function, numba.njit(cache=True, nogil=True)(function))


def count_compiled() -> int:
    """How many kernels of these sources are compiled on disk, by any process."""
    return sum(1 for _ in _compiled())


def compiled_until(begin: float) -> float:
    """Seconds from `begin`, a time of day, to the newest kernel's end; 0 where none is newer."""
    newest = begin
    for path in _compiled():
        with contextlib.suppress(FileNotFoundError):  # another process drops old kernels
            newest = max(newest, path.stat().st_mtime)
    return newest - begin


def _compiled() -> Iterator[Path]:
    return Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*.nbc")
