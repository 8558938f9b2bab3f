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
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import xxhash

from preprocess.cache import cache_folder

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("preprocess", "train")
_FORGOTTEN = 30 * 24 * 3600.0  # seconds

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
    """The folder of these sources' kernels; one that the user names holds one for each hash."""
    name = f"numba-{_sources_hash()}"
    given = os.environ.get("NUMBA_CACHE_DIR")
    if not given:
        return cache_folder(name)
    # A child inherits what its parent has chosen.
    return Path(given) if Path(given).name == name else Path(given) / name


def _forget_old(current: Path) -> None:
    """Remove kernels of other sources that nobody has used for a month."""
    with contextlib.suppress(OSError):
        os.utime(current)
        for other in current.parent.glob("numba-*"):
            if other != current and time.time() - other.stat().st_mtime > _FORGOTTEN:
                shutil.rmtree(other, ignore_errors=True)


_cache = _choose_cache()
_forget_old(_cache)
os.environ["NUMBA_CACHE_DIR"] = str(_cache)

import numba  # noqa: E402  (the cache folder must be set first)


def kernel(function: Function) -> Function:
    """Compile a pure function of arrays: cached on disk, serial, without the interpreter lock."""
    return cast(Function, numba.njit(cache=True, nogil=True)(function))


def are_compiled() -> bool:
    """Whether kernels of these sources have been compiled before, which takes half a minute."""
    return any(Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*.nbc"))
