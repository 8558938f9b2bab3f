"""The one way to compile a numba kernel here: `from preprocess.kernels import kernel`.

numba's cache does not notice an edit in a callee that lives in another file, and raises where no
cache folder is writable. So the cache folder is named by a hash of every source file that imports
from here, and is chosen here, before numba is imported for the first time. Constants that a kernel
reads therefore live in a file that holds kernels.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import xxhash

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("preprocess", "train")

Function = TypeVar("Function", bound=Callable[..., Any])


def cache_folder(name: str) -> Path:
    """A writable folder for derived data, made if need be.

    It is `$WHOLEWORD_CACHE/name`, else `$XDG_CACHE_HOME/wholeword/name`, else
    `~/.cache/wholeword/name`; where that cannot be written, a folder of this user's under the
    temporary directory.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    preferred = Path(os.environ.get("WHOLEWORD_CACHE") or Path(home) / "wholeword") / name
    for folder in (preferred, Path(tempfile.gettempdir()) / f"wholeword-{os.getuid()}" / name):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        if os.access(folder, os.W_OK | os.X_OK) and folder.stat().st_uid == os.getuid():
            return folder
    return Path(tempfile.mkdtemp(prefix="wholeword-"))


def _sources_hash() -> str:
    digest = xxhash.xxh3_64(str(_ROOT).encode())  # numba keys its files by their place, too
    for package in _PACKAGES:
        for source in sorted((_ROOT / package).rglob("*.py")):
            text = source.read_bytes()
            if b"preprocess.kernels import" in text:
                digest.update(source.relative_to(_ROOT).as_posix().encode() + text)
    return digest.hexdigest()


os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_folder(f"numba-{_sources_hash()}")))

import numba  # noqa: E402  (the cache folder must be set first)


def kernel(function: Function) -> Function:
    """Compile a pure function of arrays: cached on disk, serial, without the interpreter lock."""
    return cast(Function, numba.njit(cache=True, nogil=True)(function))


def are_compiled() -> bool:
    """Whether kernels of these sources have been compiled before, which takes half a minute."""
    return any(Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*.nbc"))
