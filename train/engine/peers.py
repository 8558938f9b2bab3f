"""The line between the processes of a run, beside the collectives.

A collective tells a rank nothing about the others until all are there, and little when one never
comes. So ranks first meet at a hub on rank 0, and keep a connection to it (`train.engine.hub`):
whatever goes wrong on one rank, all end within seconds with one line that names it, also out of a
collective that would wait for minutes.
"""

import contextlib
import json
import os
import secrets
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch

from preprocess.bundled import as_called
from preprocess.errors import WholewordError
from train.engine.hub import INTERRUPTED, LATE, LINGER, Hub, beat, encode, gone, silent
from train.engine.launch import Launch

PATIENCE = 600.0
"""Seconds after which a rank is given up, where nothing else is said."""
_KEY = "hub"
_FIRST_NOTE = 30.0
"""Seconds after which rank 0 says whom it waits for."""
_AFTERTHOUGHT = 0.5
"""Seconds by which a rank that has nothing to say ends later than the one that has."""


class Peers:
    """This process among those of its run; by itself, a process without any others."""

    launch: Launch | None = None
    store: Any = None
    """The store of torch, of a run of several ranks."""

    def fail(self, line: str, status: int) -> int:
        """Say on all ranks why this one cannot go on.

        Returns:
            `status`, with which this process is to exit. With other ranks it does not return: the
            process ends when all have heard.
        """
        say(line)
        return status

    def wait_for_all(self) -> None:
        """Wait until every rank has started."""

    def close(self) -> None:
        """Wait until every rank has come to its end."""


@contextlib.contextmanager
def meeting(launch: Launch | None, patience: float) -> Iterator[Peers]:
    """Meet the other processes of the run, and stay connected to them.

    Args:
        launch: this process's place; None for one that is alone.
        patience: seconds after which a rank that does not start, or answer, is given up.

    Raises:
        WholewordError: rank 0 cannot be reached, or the port is another run's.
    """
    if launch is None or launch.world_size == 1:
        yield Peers()
        return
    deadline = time.monotonic() + patience
    store = _open_store(launch, deadline)
    hub = _start_hub(launch, store, patience) if launch.rank == 0 else None
    connection = _connect(launch, store, deadline)
    peers = Connected(launch, store, connection, patience, hub)
    yield peers
    peers.close()


class Connected(Peers):
    """This process among several; a thread of it listens to the hub.

    Args:
        launch: this process's place.
        store: torch's store.
        connection: to the hub.
        patience: seconds of the hub's silence after which it is given up.
        hub: on rank 0.
    """

    def __init__(
        self,
        launch: Launch,
        store: Any,
        connection: socket.socket,
        patience: float,
        hub: Hub | None,
    ) -> None:
        self.launch, self.store = launch, store
        self._place = launch
        self._connection = connection
        self._patience = patience
        self._hub = hub
        self._names = {"0": ["rank 0", ""], str(launch.rank): ["", _ear(launch)]}
        self._all_here = threading.Event()
        self._over = threading.Event()
        self._sending = threading.Lock()
        self._thread = threading.Thread(target=self._listen, name="peers", daemon=True)
        self._thread.start()

    def wait_for_all(self) -> None:
        """Wait until every rank has started."""
        begin, said = time.monotonic(), False
        while not self._all_here.wait(timeout=1.0):
            if self._hub and not said and time.monotonic() - begin > _FIRST_NOTE:
                said = True
                print(f"waiting for {self._hub.missing()} to start", file=sys.stderr, flush=True)

    def fail(self, line: str, status: int) -> int:
        """Say on all ranks why this one cannot go on; the thread ends the process."""
        self._send({"failed": line, "status": status})
        self._over.wait()
        return status

    def close(self) -> None:
        """Wait until every rank has come to its end; one that fails ends this process too."""
        self._send({"done": True})
        self._over.wait()
        self._thread.join()
        if self._hub:
            self._hub.join(LINGER)

    def _send(self, message: dict[str, Any]) -> None:
        with self._sending, contextlib.suppress(OSError):  # its end is noticed where it is read
            self._connection.sendall(encode(message))

    def _listen(self) -> None:
        """Read what the hub says until it is over; a verdict ends the process."""
        pending, heard, pause = b"", time.monotonic(), beat(self._patience)
        while not self._over.is_set():
            begin = time.monotonic()
            ready, _, _ = select.select([self._connection], [], [], pause)
            now = time.monotonic()
            if now - begin > 2 * pause + 1:  # this process was stopped itself
                heard += now - begin
            self._send({})
            if ready:
                try:
                    block = self._connection.recv(1 << 16)
                except OSError:
                    block = b""
                if not block:
                    self._end(gone(self._names["0"][0]), 1, ["0"])
                heard = now
                *lines, pending = (pending + block).split(b"\n")
                for line in lines:
                    self._take(json.loads(line))
            elif now - heard > self._patience:
                self._end(silent(self._names["0"][0], self._patience), 1, ["0"])
        self._connection.close()

    def _take(self, message: dict[str, Any]) -> None:
        if "ranks" in message:
            self._names = message["ranks"]
            self._all_here.set()
        if "refused" in message:
            self._names = {str(self._place.rank): self._names[str(self._place.rank)]}
            self._end(_taken(self._place), 1, [])
        if "verdict" in message:
            verdict = message["verdict"]
            self._names = self._names | verdict["ranks"]
            self._end(verdict["line"], verdict["status"], verdict["gone"])
        if "bye" in message:
            self._over.set()

    def _end(self, line: str, status: int, gone: list[str]) -> None:
        """End this process, whatever its other threads wait for.

        Where several ranks write to the same place, the first of them speaks.
        """
        me = str(self._place.rank)
        ear = self._names[me][1]
        hearers = [
            rank for rank, (_, its) in self._names.items() if its == ear and rank not in gone
        ]
        if me == min(hearers, key=int, default=me):
            _restore_terminal()
            say(line)
        else:
            time.sleep(_AFTERTHOUGHT)
        self._connection.close()
        if self._hub:
            self._hub.join(LATE + 1)
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(status)


def say(line: str) -> None:
    """Print why a process ends, which nobody needs to be told who has interrupted it."""
    if line != INTERRUPTED:
        prefix = "" if line.startswith("internal error: ") else "error: "
        print(as_called(prefix + line), file=sys.stderr, flush=True)


def _restore_terminal() -> None:
    """Show the cursor, which a progress bar has hidden, on a line of its own."""
    if sys.stdout.isatty():
        sys.stdout.write("\x1b[?25h\n")
        sys.stdout.flush()


def _ear(launch: Launch) -> str:
    """Where this process's errors are read: ranks with the same write to one place.

    Slurm and mpirun give each task a pipe of its own, and join them.
    """
    if launch.joined:
        return f"{socket.gethostname()} {os.getppid()}"
    try:
        status = os.fstat(2)
    except OSError:
        return f"{socket.gethostname()} {os.getpid()}"
    return f"{socket.gethostname()} {status.st_dev}:{status.st_ino}"


def _open_store(launch: Launch, deadline: float) -> Any:
    """The store of torch, on rank 0's machine; torchrun has one already."""
    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    serves = launch.rank == 0 and not kept
    if not serves:
        _dial([(launch.address, launch.port)], deadline, launch).close()
    try:
        store = torch.distributed.TCPStore(
            launch.address,
            launch.port,
            launch.world_size,
            is_master=serves,
            timeout=timedelta(seconds=min(max(5.0, deadline - time.monotonic()), 1e6)),
            wait_for_workers=False,
            multi_tenant=True,
        )
    except torch.distributed.DistNetworkError as error:
        if "EADDRINUSE" in str(error):
            raise WholewordError(_taken(launch)) from error
        raise WholewordError(_unreachable(launch, str(error).splitlines()[0])) from error
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return torch.distributed.PrefixStore(f"wholeword/{attempt}", store)


def _taken(launch: Launch) -> str:
    return (
        f"{launch.address}:{launch.port} is in use, by another run perhaps; set MASTER_PORT to "
        "another port on all machines (deepspeed and torchrun: --master_port)"
    )


def _unreachable(launch: Launch, cause: str) -> str:
    return (
        f"rank 0 cannot be reached at {launch.address}:{launch.port} ({cause}); look at what its "
        "launcher says, and whether MASTER_ADDR is its machine's name or address in the network "
        "between the machines"
    )


def _start_hub(launch: Launch, store: Any, patience: float) -> Hub:
    token = secrets.token_hex(16)
    hub = Hub(launch.world_size, token, patience)
    hub.start()
    hosts = [launch.address, socket.gethostname()]
    store.set(_KEY, json.dumps({"hosts": hosts, "port": hub.port, "token": token}))
    return hub


def _connect(launch: Launch, store: Any, deadline: float) -> socket.socket:
    """This rank's connection to the hub, introduced."""
    while not store.check([_KEY]):
        if time.monotonic() > deadline:
            raise WholewordError(_unreachable(launch, "it has not started"))
        time.sleep(0.1)
    place = json.loads(store.get(_KEY))
    hosts = ["127.0.0.1"] if launch.rank == 0 else place["hosts"]
    connection = _dial([(host, place["port"]) for host in hosts], deadline, launch)
    connection.settimeout(None)
    hello = {"rank": launch.rank, "token": place["token"], "ear": _ear(launch)}
    hello |= {"host": socket.gethostname(), "process": os.getpid()}
    connection.sendall(encode(hello))
    return connection


def _dial(places: list[tuple[str, int]], deadline: float, launch: Launch) -> socket.socket:
    """A connection to the first place that answers, which may not have started yet."""
    while True:
        for place in places:
            try:
                return socket.create_connection(place, timeout=5.0)
            except OSError as error:
                cause = error.strerror or str(error)
        if time.monotonic() > deadline:
            raise WholewordError(_unreachable(launch, cause))
        time.sleep(0.2)
