"""What the hub makes of its connections: nothing, or one verdict for all."""

import json
import socket
import time

import pytest

from train.engine import hub
from train.engine.hub import INTERRUPTED, LOST, Hub, encode


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(hub, "GRACE", 0.3)
    monkeypatch.setattr(hub, "LATE", 1.0)


class Rank:
    """A rank's end of its connection."""

    def __init__(self, where: Hub, rank: int, token: str = "token") -> None:
        self.socket = socket.create_connection(("127.0.0.1", where.port), timeout=20)
        self.lines = self.socket.makefile("rb")
        place = {"host": "node", "process": 40 + rank, "ear": "tty"}
        self.say({"rank": rank, "token": token} | place)

    def say(self, message: dict) -> None:
        self.socket.sendall(encode(message))

    def hears(self, *kinds: str) -> dict:
        """The first message of some kind; it lives meanwhile."""
        while line := self.lines.readline():
            message = json.loads(line)
            if found := [message[kind] for kind in kinds if kind in message]:
                return found[0]
            self.say({})
        raise AssertionError(f"no {kinds}")

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


@pytest.fixture
def start():
    """A hub, and some of its ranks."""

    def make(size: int, ranks: int | None = None, patience: float = 60.0):
        made = Hub(size, "token", patience)
        made.start()
        return made, [Rank(made, rank) for rank in range(size if ranks is None else ranks)]

    return make


def verdicts(ranks: list[Rank]) -> list[dict]:
    return [rank.hears("verdict") for rank in ranks]


def test_all_come_and_all_go(start):
    made, ranks = start(3)
    names = ranks[2].hears("ranks")
    assert names["1"] == ["rank 1 on node (process 41)", "tty"]
    for rank in ranks:
        rank.say({"done": True})
    assert [rank.hears("bye") for rank in ranks] == [True] * 3
    for rank in ranks:
        rank.close()
    made.join(10)
    assert not made.is_alive()


def test_a_connection_that_ends_is_a_rank_that_is_gone(start):
    _, ranks = start(3)
    ranks[0].hears("ranks")
    ranks[1].close()
    for verdict in verdicts([ranks[0], ranks[2]]):
        assert verdict["line"].startswith("rank 1 on node (process 41) is gone: killed")
        assert (verdict["status"], verdict["gone"]) == (1, ["1"])


@pytest.mark.parametrize(
    ("failures", "line", "status"),
    [
        ({0: ("a: b", 1), 1: ("a: b", 1), 2: ("a: b", 1)}, "a: b", 1),
        ({0: (LOST, 1), 1: ("a: b", 1), 2: (LOST, 1)}, "rank 1 on node (process 41): a: b", 1),
        ({2: ("internal error: x", 70)}, "rank 2 on node (process 42): internal error: x", 70),
        ({1: ("b", 1), 2: ("c", 1)}, "rank 1 on node (process 41): b", 1),
        (dict.fromkeys(range(3), (INTERRUPTED, 130)), INTERRUPTED, 130),
        ({1: (LOST, 1)}, "rank 1 on node (process 41): the connection to another rank is lost", 1),
    ],
)
def test_all_say_what_one_knows(start, failures, line, status):
    _, ranks = start(3)
    ranks[0].hears("ranks")
    for rank, (why, code) in failures.items():
        ranks[rank].say({"failed": why, "status": code})
    for verdict in verdicts(ranks):
        assert verdict["line"].startswith(line)
        assert verdict["status"] == status


def test_a_rank_from_which_nothing_comes_is_named(start):
    _, ranks = start(2, patience=1.5)
    begin = time.monotonic()
    assert (
        ranks[0]
        .hears("verdict")["line"]
        .startswith("rank 1 on node (process 41) has not answered for 1.5 seconds (--rank-timeout)")
    )
    assert time.monotonic() - begin > 1


def test_a_rank_that_does_not_come_is_named(start):
    _, ranks = start(2, ranks=1, patience=1.5)
    line = ranks[0].hears("verdict")["line"]
    assert line.startswith("rank 1 of 2 did not start within 1.5 seconds (--rank-timeout)")


def test_a_rank_that_comes_too_late_hears_why(start):
    made, ranks = start(2, ranks=1)
    ranks[0].say({"failed": "a: b", "status": 1})
    assert ranks[0].hears("verdict")["line"] == "rank 0 on node (process 40): a: b"
    assert Rank(made, 1).hears("verdict")["line"] == "rank 0 on node (process 40): a: b"


def test_strangers_and_second_ones_are_not_let_in(start):
    made, ranks = start(2)
    ranks[0].hears("ranks")
    assert Rank(made, 1).hears("refused") == 1
    assert Rank(made, 0, token="another run's").lines.readline() == b""
    for rank in ranks:
        rank.say({"done": True})
    assert [rank.hears("bye") for rank in ranks] == [True, True]
