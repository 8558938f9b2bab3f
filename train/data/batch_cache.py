"""Record batches of shards at an address, on a disk of this machine: fetched once, bounded, shared.

A file is called by what its bytes hash to, so that it serves every dataset, run and rank that wants
them; whoever wants one that is being fetched waits for it. What is longest unused goes first. A
file that was removed stays readable to those who have mapped it.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import xxhash

from preprocess.addresses import parallel
from preprocess.cache import cache_folder
from preprocess.errors import WholewordError
from preprocess.files import first_step

BATCHES = "batches"
DEFAULT_BYTES = 100 * 10**9
_EVICT_TO = 0.9
"""Share of the bound that is left when room is made."""


@dataclass(frozen=True)
class CacheOptions:
    """Where what is fetched is kept, and how much of it."""

    folder: Path
    bytes: int
    """Of record batches, at most."""


def default_cache() -> CacheOptions:
    """What is used where no option says otherwise."""
    return CacheOptions(cache_folder("data"), DEFAULT_BYTES)


@dataclass(frozen=True)
class StoredBatch:
    """A record batch at an address."""

    xxh3_64: int
    size: int
    fetch: Callable[[], bytes]
    """Asks for its bytes."""
    name: str
    """For messages."""

    @property
    def file(self) -> str:
        """What its bytes are kept as."""
        return f"{self.xxh3_64 & 0xFF:02x}/{self.xxh3_64:016x}-{self.size}"


class BatchCache:
    """The record batches that a process wants, of those that the machine has and of others.

    Args:
        options: where, and how much.
    """

    def __init__(self, options: CacheOptions) -> None:
        self._folder = options.folder / BATCHES
        self._bound = options.bytes
        self._checked: set[str] = set()
        self._ahead: dict[str, Future[None]] = {}
        self._pool = ThreadPoolExecutor(parallel(), thread_name_prefix="fetch")
        with self._writing():
            self._folder.mkdir(parents=True, exist_ok=True)

    def fetch_ahead(self, batches: list[StoredBatch]) -> None:
        """Begin to fetch what is not there, and return at once."""
        self._ahead = {name: one for name, one in self._ahead.items() if not one.done()}
        for batch in batches:
            if batch.file not in self._ahead and not (self._folder / batch.file).exists():
                self._ahead[batch.file] = self._pool.submit(self._fetch, batch)

    def read(self, batch: StoredBatch) -> pa.Buffer:
        """The bytes of a record batch, mapped; fetched if they are not there, or are others.

        Raises:
            WholewordError: they cannot be fetched or kept, or are not those that were built.
        """
        if fetching := self._ahead.pop(batch.file, None):
            fetching.result()
        while True:
            data = self._map(batch)
            if data is not None:
                return data
            self._fetch(batch)

    def _map(self, batch: StoredBatch) -> pa.Buffer | None:
        """The file, if it is there and is what its name says."""
        path = self._folder / batch.file
        try:
            with pa.memory_map(str(path)) as source:
                data = source.read_buffer()
            os.utime(path)  # it is used: let others go first
        except OSError:
            return None
        if batch.file not in self._checked:
            if data.size != batch.size or xxhash.xxh3_64_intdigest(data) != batch.xxh3_64:
                path.unlink(missing_ok=True)
                return None
            self._checked.add(batch.file)
        return data

    def _fetch(self, batch: StoredBatch) -> None:
        """Fetch a batch, unless another process has done so meanwhile."""
        path = self._folder / batch.file
        with self._writing():
            path.parent.mkdir(exist_ok=True)
            with _locked(path.with_name(f".{path.name}.part")) as part:
                if path.exists():
                    part.unlink(missing_ok=True)
                    return
                data = batch.fetch()
                if len(data) != batch.size or xxhash.xxh3_64_intdigest(data) != batch.xxh3_64:
                    part.unlink(missing_ok=True)
                    raise WholewordError(
                        f"{batch.name} is damaged or of another build; build the shards again "
                        "(`python -m preprocess build-shards --overwrite`)"
                    )
                with _locked(self._folder / ".lock"):  # or the bound would not hold
                    self._make_room(batch.size)
                    part.write_bytes(data)
                    part.rename(path)

    def _make_room(self, wanted: int) -> None:
        """Count a file in that is about to be written; remove others where there is no room."""
        if wanted > self._bound:
            raise WholewordError(
                f"--data-cache-size: a record batch has {wanted:,} bytes; give more"
            )
        counter = self._folder / "bytes"
        try:
            used = int(counter.read_text())
        except (OSError, ValueError):
            used = self._bound + 1  # nobody knows: count
        if used + wanted > self._bound:
            used = self._evict(wanted)
        counter.write_text(str(used + wanted))

    def _evict(self, wanted: int) -> int:
        """Remove what is longest unused; returns the bytes that are left."""
        found = []
        for folder in self._folder.iterdir():
            if folder.is_dir():
                for entry in os.scandir(folder):
                    with suppress(FileNotFoundError):
                        status = entry.stat()
                        if not entry.name.startswith("."):
                            found.append((status.st_mtime_ns, status.st_size, entry.path))
                        elif status.st_size:  # who wrote it was killed: we have the lock
                            Path(entry.path).unlink()
        used = sum(size for _, size, _ in found)
        if used + wanted <= self._bound:
            return used
        for _, size, path in sorted(found):
            if used + wanted <= _EVICT_TO * self._bound:
                break
            Path(path).unlink(missing_ok=True)
            used -= size
        return used

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except WholewordError:
            raise
        except OSError as error:
            raise WholewordError(
                f"{self._folder}: cannot be written ({error.strerror or error}); "
                f"{first_step(error)}, give a smaller --data-cache-size, or name another "
                "--data-cache"
            ) from error


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """A file that is this thread's alone, made if need be; the system frees that of a dead one."""
    while True:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever had it may have renamed or removed what we have opened.
            with suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                    yield path
                    return
