"""Which ranks see one folder: all of them on a shared disk, those of a machine on its own.

What a folder is cannot be told from its name: the same path may be a network mount here and a local
disk there. So ranks leave files in it, and look whose they see.
"""

import contextlib
import errno
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from preprocess.errors import WholewordError
from train.engine.process_group import Ranks

_PATIENCE = 4.0
"""Seconds that a network file system has to show a new file to other machines."""


@dataclass(frozen=True)
class Place:
    """The ranks that share this rank's folder of the run."""

    rank: int
    """This one."""
    ranks: tuple[int, ...]
    """All of them, this one included, in order."""
    world_size: int

    @property
    def leads(self) -> bool:
        """Whether this rank does what one rank of every place does."""
        return self.rank == self.ranks[0]

    @property
    def is_part(self) -> bool:
        """Whether the run has other places too."""
        return len(self.ranks) < self.world_size


def shared_place(ranks: Ranks) -> Place:
    """The one place of a run all of whose ranks see its folder."""
    return Place(ranks.rank, tuple(range(ranks.world_size)), ranks.world_size)


def find_place(folder: Path, ranks: Ranks, node_local: bool) -> Place:
    """Make the run's folder, and find who shares it with this rank; every rank calls this.

    Args:
        folder: the run's.
        ranks: the run's.
        node_local: whether it may be another one on each machine.

    Raises:
        WholewordError: it cannot be made; or it is another one for some rank, unasked.
    """
    if ranks.world_size == 1:
        make_folder(folder)
        return shared_place(ranks)
    token = ranks.share(secrets.token_hex(8))
    files = [folder / f".rank-{rank}-{token}" for rank in range(ranks.world_size)]
    try:
        ranks.together(lambda: _leave(files[ranks.rank], ranks.first or node_local))
        if node_local:
            seen = tuple(rank for rank, file in enumerate(files) if file.exists())
        else:
            seen = (0,) if _appears(files[0]) else ()
        found = ranks.gather((socket.gethostname(), seen))
        first = ranks.share(folder)
    finally:
        with contextlib.suppress(OSError):
            files[ranks.rank].unlink(missing_ok=True)
    if node_local:
        return _own_place(first, ranks, found)
    for rank, (host, seen) in enumerate(found):
        if not seen:
            raise WholewordError(
                f"{first}: rank {rank} on {host} does not see what rank 0 on {found[0][0]} writes "
                "there; give an --output-dir on a disk that all machines share, or "
                "--node-local-output, with which each machine keeps its own files"
            )
    return shared_place(ranks)


def _own_place(folder: Path, ranks: Ranks, found: list[tuple[str, tuple[int, ...]]]) -> Place:
    for rank, (host, seen) in enumerate(found):
        if rank not in seen or any(found[other][1] != seen for other in seen):
            raise WholewordError(
                f"{folder}: rank {rank} on {host} sees files of rank {', '.join(map(str, seen))}, "
                "which do not see the same; with --node-local-output give a local disk, or leave "
                "the option out"
            )
    return Place(ranks.rank, found[ranks.rank][1], ranks.world_size)


def make_folder(folder: Path) -> None:
    """Make a run's folder.

    Raises:
        WholewordError: it cannot be.
    """
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _leave(file: Path, wanted: bool) -> None:
    if wanted:
        make_folder(file.parent)
        with writable(file.parent):
            file.touch()


@contextlib.contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turn what a folder that cannot be written raises into one line."""
    try:
        yield
    except OSError as error:
        remedy = "choose another --output-dir"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = f"make room, or {remedy}"
        raise WholewordError(f"{folder}: cannot be written ({error.strerror}); {remedy}") from error


def _appears(file: Path) -> bool:
    """Whether a file is there, or comes to be; listing its folder makes NFS look again."""
    until = time.monotonic() + _PATIENCE
    while not file.exists():
        if time.monotonic() > until:
            return False
        with contextlib.suppress(OSError):
            list(file.parent.iterdir())
        time.sleep(0.2)
    return True
