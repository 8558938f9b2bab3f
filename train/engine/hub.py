"""Rank 0's side of the line between ranks: who is here, who has fallen silent, and why all end.

Each rank has a connection to the hub, beside the collectives. A process that is killed is noticed
at once, because the system closes its connection; one that is stopped, or a machine that is cut
off, because nothing comes for too long. The first to go wrong decides what all ranks say: the hub
sends every one the same verdict.

Messages are JSON, one a line. From a rank: {"rank", "token", "host", "process", "ear"} first, then
{} while it lives, {"failed", "status"} when it cannot go on, {"done"} at its end. From the hub:
{"ranks"} when all are here, {} while it lives, {"verdict"}, or {"bye"} when all are done.
"""

import contextlib
import json
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

GRACE = 1.0
"""Seconds that other ranks have to fail alike, so that they are said to."""
LINGER = 3.0
"""Seconds after the end in which connections stay open, so that the last message arrives."""
LATE = 5.0
"""The same where a rank has not come yet that would wait for the others."""
LOST = "lost"
"""The reason of a rank that sees nothing but a broken connection: others know more."""
INTERRUPTED = "interrupted"
"""The reason of one on which a person has pressed Ctrl-C: nothing more to say where all have it."""
AGAIN = "run the same command again, it continues from the last checkpoint"


@dataclass
class Member:
    """A rank's connection."""

    socket: socket.socket
    rank: int = -1
    """Its number, once it has said so."""
    hello: dict[str, Any] = field(default_factory=dict)
    """What it said of itself first."""
    heard: float = field(default_factory=time.monotonic)
    """When it last said something."""
    pending: bytes = b""
    """The beginning of a message."""
    done: bool = False
    failed: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """For people: "rank 1 on node04 (process 4242)"."""
        return f"rank {self.rank} on {self.hello['host']} (process {self.hello['process']})"

    @property
    def reason(self) -> str | None:
        """Why it cannot go on, where it knows."""
        line = str(self.failed["failed"]) if self.failed else LOST
        return None if line == LOST else line

    def read(self) -> Iterator[dict[str, Any]]:
        """The messages that have come.

        Raises:
            OSError: the connection has ended.
        """
        block = self.socket.recv(1 << 16)
        if not block:
            raise ConnectionResetError
        self.heard = time.monotonic()
        *lines, self.pending = (self.pending + block).split(b"\n")
        yield from map(json.loads, lines)

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; a rank that does not take it is noticed by its silence."""
        with contextlib.suppress(OSError):
            self.socket.sendall(encode(message))


class Hub(threading.Thread):
    """Listens to all ranks until a verdict, or until all are done.

    Args:
        world_size: how many ranks there are.
        token: what a connection has to know to be one of them.
        patience: seconds of silence, or until a rank has started, after which it is given up.
    """

    def __init__(self, world_size: int, token: str, patience: float) -> None:
        super().__init__(name="hub", daemon=True)
        self._size = world_size
        self._token = token
        self._patience = patience
        self._listener = listen()
        self.port: int = self._listener.getsockname()[1]
        self._members: dict[int, Member] = {}
        self._gone: list[Member] = []
        self._decide_at = float("inf")
        self._verdict: dict[str, Any] | None = None
        self._began = self._beaten = time.monotonic()

    def run(self) -> None:
        """Serve until the end."""
        with selectors.DefaultSelector() as self._selector, self._listener:
            self._selector.register(self._listener, selectors.EVENT_READ)
            while self._verdict is None and not self._is_over():
                self._turn()
            message = {"bye": True} if self._verdict is None else {"verdict": self._verdict}
            self._tell(message)
            self._linger(message)

    def missing(self) -> str:
        """Who has not come yet, for people."""
        ranks = [str(rank) for rank in range(self._size) if rank not in self._members]
        return f"rank {', '.join(ranks)} of {self._size}"

    def _turn(self) -> None:
        """What happens within one beat."""
        begin, pause = time.monotonic(), beat(self._patience)
        for key, _ in self._selector.select(timeout=pause):
            if key.fileobj is self._listener:
                self._accept()
            else:
                self._hear(key.data)
        now = time.monotonic()
        if now - begin > 2 * pause + 1:  # this process was stopped itself, and heard nobody
            self._began += now - begin
            for member in self._members.values():
                member.heard += now - begin
        if now - self._beaten >= pause:
            self._beaten = now
            self._tell({})
        self._look_for_silence(now)
        everyone = sum(member.failed is not None for member in self._members.values()) == self._size
        if now >= self._decide_at or everyone:
            self._decide()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(5.0)
        self._selector.register(connection, selectors.EVENT_READ, Member(connection))

    def _hear(self, member: Member) -> None:
        try:
            for message in member.read():
                self._take(member, message)
        except (OSError, ValueError, KeyError, TypeError):
            self._selector.unregister(member.socket)
            if self._members.get(member.rank) is not member:
                member.socket.close()
            elif not member.done:
                self._lose(member)

    def _take(self, member: Member, message: dict[str, Any]) -> None:
        if member.rank == -1:
            if message["token"] != self._token:
                raise ValueError
            rank = int(message["rank"])
            if rank in self._members or not 0 <= rank < self._size:
                member.send({"refused": rank})
                raise ValueError
            member.rank, member.hello = rank, message
            self._members[rank] = member
            if len(self._members) == self._size:
                self._tell({"ranks": self._names_and_ears()})
        member.done = member.done or "done" in message
        if "failed" in message:
            member.failed = message
            # One that only knows of a lost connection leaves the others time to say why.
            wait = GRACE if member.reason else 5 * GRACE
            self._decide_at = min(self._decide_at, time.monotonic() + wait)

    def _names_and_ears(self) -> dict[str, list[str]]:
        return {str(m.rank): [m.name, m.hello["ear"]] for m in self._all()}

    def _tell(self, message: dict[str, Any]) -> None:
        for member in self._members.values():
            member.send(message)

    def _lose(self, member: Member) -> None:
        """A connection that has ended is a process that has: killed, in most cases."""
        self._gone.append(member)
        if not any(found.reason for found in self._all()):
            self._decide_at = 0.0

    def _all(self) -> list[Member]:
        return [member for _, member in sorted(self._members.items())]

    def _look_for_silence(self, now: float) -> None:
        quiet = [m for m in self._all() if not m.done and now - m.heard > self._patience]
        if quiet:
            self._end(silent(", ".join(member.name for member in quiet), self._patience))
        elif len(self._members) < self._size and now - self._began > self._patience:
            self._end(
                f"{self.missing()} did not start within {self._patience:g} seconds "
                "(--rank-timeout); look at what its launcher says, and whether its machine reaches "
                "MASTER_ADDR and MASTER_PORT"
            )

    def _decide(self) -> None:
        """Say why the run ends: the reason that a rank has, else who is gone."""
        told = [member for member in self._all() if member.reason]
        if told:
            line, status = str(told[0].reason), told[0].failed["status"]  # type: ignore[index]
            if len(told) < self._size or any(member.reason != line for member in told):
                line = f"{told[0].name}: {line}"
            self._end(line, status)
        elif self._gone:
            self._end(gone(", ".join(member.name for member in self._gone)))
        else:
            names = ", ".join(member.name for member in self._all() if member.failed)
            self._end(f"{names}: the connection to another rank is lost; {AGAIN}")

    def _end(self, line: str, status: int = 1) -> None:
        self._verdict = self._verdict or {
            "line": line,
            "status": status,
            "ranks": self._names_and_ears(),
            "gone": [str(member.rank) for member in self._gone],
        }

    def _is_over(self) -> bool:
        return len(self._members) == self._size and all(m.done for m in self._all())

    def _linger(self, last: dict[str, Any]) -> None:
        """Read what still comes, and tell ranks that come late.

        A connection that is closed while something in it is unread loses what was sent last.
        """
        missing = len(self._members) < self._size
        until = time.monotonic() + (LATE if missing else LINGER)
        for member in self._members.values():
            with contextlib.suppress(OSError):
                member.socket.shutdown(socket.SHUT_WR)
        while (left := until - time.monotonic()) > 0 and (
            missing or len(self._selector.get_map()) > 1
        ):
            for key, _ in self._selector.select(timeout=left):
                if key.fileobj is self._listener:
                    self._accept()
                    continue
                try:
                    list(key.data.read())
                    if key.data.rank == -1:
                        key.data.send(last)
                except (OSError, ValueError):
                    self._selector.unregister(key.fileobj)


def gone(who: str) -> str:
    """The line of a rank whose process has ended without a word."""
    return f"{who} is gone: killed, perhaps because memory ran out, or its machine is down; {AGAIN}"


def silent(who: str, patience: float) -> str:
    """The line of a rank from which nothing comes."""
    return (
        f"{who} has not answered for {patience:g} seconds (--rank-timeout): stopped, or cut off "
        f"from the network; {AGAIN}"
    )


def encode(message: dict[str, Any]) -> bytes:
    """A message as it is sent."""
    return json.dumps(message).encode() + b"\n"


def beat(patience: float) -> float:
    """Seconds between two signs of life."""
    return min(2.0, patience / 5)


def listen() -> socket.socket:
    """A socket that any machine of the run can connect to, on a port that is free."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # the system may have been told to leave IPv6 alone
            return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))
