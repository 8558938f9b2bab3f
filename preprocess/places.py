"""Files and folders on a disk or at an address, by one name: `place`.

At an address there are no folders, only objects whose names have slashes; an object is put whole or
not at all, and cannot be renamed, locked or added to.
"""

import functools
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar, cast

import xxhash

from preprocess.addresses import ask, is_address, parallel

Item = TypeVar("Item")
Result = TypeVar("Result")

_MARKS = (
    *("ETag", "etag", "md5Hash", "blob_id", "sha256", "generation"),
    *("LastModified", "last_modified", "updated", "mtime", "created"),
)
"""What changes when an object does; the first that the file system has is looked at."""


@dataclass(frozen=True)
class Stored:
    """What there is to know of a file before it is read."""

    bytes: int
    mark: int
    """The time of its last change in nanoseconds; at an address a number made of its ETag."""


@functools.total_ordering
class Place:
    """An object, or what begins like a folder, at an address: what we use of `pathlib.Path`.

    Whatever goes wrong is an `OSError`, as it is with a path, and has a line for people.
    """

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")

    def __str__(self) -> str:
        return self._address

    def __repr__(self) -> str:
        return f"Place({self._address!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and self._address == other._address

    def __lt__(self, other: "Place") -> bool:
        return self._address < other._address

    def __hash__(self) -> int:
        return hash(self._address)

    def __truediv__(self, name: str) -> "Place":
        return Place(f"{self._address}/{name}")

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self._address.rsplit("/", 1)[-1]

    @property
    def parent(self) -> "Place":
        """What stands before the last slash."""
        return Place(self._address.rsplit("/", 1)[0])

    def with_name(self, name: str) -> "Place":
        """Another one beside it."""
        return self.parent / name

    def info(self) -> dict[str, Any]:
        """What the file system says of it; `size`, `type` and its own marks.

        Raises:
            OSError: it does not exist, or cannot be asked for.
        """
        return dict(ask(self._address, lambda fs, path: fs.info(path)))

    def stored(self) -> Stored:
        """Its size and mark."""
        return stored_of(self.info())

    def exists(self) -> bool:
        """Whether there is an object of that name, or one in it."""
        try:
            self.info()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there are objects in it."""
        try:
            return bool(self.info()["type"] == "directory")
        except FileNotFoundError:
            return False

    def read_bytes(self) -> bytes:
        """All of it."""
        return bytes(ask(self._address, lambda fs, path: fs.cat_file(path)))

    def read_text(self, encoding: str = "utf-8") -> str:
        """All of it, decoded."""
        return self.read_bytes().decode(encoding)

    def read_range(self, begin: int, end: int) -> bytes:
        """The bytes `[begin, end)`; fewer where it is shorter."""
        if begin >= end:
            return b""
        return bytes(ask(self._address, lambda fs, path: fs.cat_file(path, start=begin, end=end)))

    def put(self, source: Path) -> None:
        """Make it the content of a file of this machine, whole."""
        ask(self._address, lambda fs, path: fs.put_file(str(source), path))

    def fetch(self, target: Path) -> None:
        """Copy it to a file of this machine."""
        ask(self._address, lambda fs, path: fs.get_file(path, str(target)))

    def write_bytes(self, data: bytes) -> None:
        """Make it these bytes, whole."""
        ask(self._address, lambda fs, path: fs.pipe_file(path, data))

    def create(self, data: bytes) -> bool:
        """Make it these bytes where there is nothing yet; whether there was nothing."""
        try:
            ask(self._address, lambda fs, path: fs.pipe_file(path, data, mode="create"))
        except FileExistsError:
            return self.read_bytes() == data  # a first try whose answer was lost may have put it
        return True

    def entries(self) -> dict[str, dict[str, Any]]:
        """What is in it, by name: objects and what begins like a folder; empty where nothing is."""
        try:
            found = ask(self._address, lambda fs, path: fs.ls(path, detail=True))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {entry["name"].rstrip("/").rsplit("/", 1)[-1]: entry for entry in found}

    def iterdir(self) -> Iterator["Place"]:
        """What is in it."""
        for name in self.entries():
            yield self / name

    def glob(self, pattern: str) -> Iterator["Place"]:
        """What is in it whose name has this pattern, which has no slash."""
        for name in self.entries():
            if fnmatchcase(name, pattern):
                yield self / name

    def mkdir(self, mode: int = 0, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: an object's name is all that there is of a folder."""

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove it."""
        try:
            ask(self._address, lambda fs, path: fs.rm_file(path))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_entries(self, keep: Collection[str] = ()) -> None:
        """Remove what is in it, but for some names."""
        entries = {name: entry for name, entry in self.entries().items() if name not in keep}
        for name, entry in entries.items():
            if entry["type"] == "directory":
                (self / name).remove_tree()
        objects = [entry["name"] for entry in entries.values() if entry["type"] == "file"]
        if objects:
            ask(self._address, lambda fs, _: fs.rm(objects))

    def remove_tree(self) -> None:
        """Remove all that is in it."""
        try:
            ask(self._address, lambda fs, path: fs.rm(path, recursive=True))
        except FileNotFoundError:
            return


def place(name: str | Path) -> Path:
    """The path of a name, or the place of an address, which is used like one."""
    if isinstance(name, Place):
        return name
    return cast(Path, Place(name)) if isinstance(name, str) and is_address(name) else Path(name)


def is_remote(path: Path) -> bool:
    """Whether something is at an address."""
    return isinstance(path, Place)


def stored_of(info: dict[str, Any]) -> Stored:
    """Size and mark by what a file system says of a file."""
    found = next((info[key] for key in _MARKS if info.get(key)), "")
    # A listing may have the same moment in another form.
    mark = str(found.timestamp() if isinstance(found, datetime) else found)
    return Stored(int(info["size"] or 0), xxhash.xxh3_64_intdigest(mark.encode()) >> 1)


def look_at(name: str) -> Stored:
    """Size and mark of a file, on a disk or at an address.

    Raises:
        OSError: it is not there, or cannot be asked for.
    """
    if is_address(name):
        return Place(name).stored()
    status = os.stat(name)  # noqa: PTH116 (there may be 200,000)
    return Stored(status.st_size, status.st_mtime_ns)


def map_concurrently(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The results in order, of calls that mostly wait for another machine."""
    with ThreadPoolExecutor(parallel()) as pool:
        return list(pool.map(function, items))
