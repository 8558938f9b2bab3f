import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from preprocess.errors import WholewordError
from preprocess.run.engines import WorkerFailed, run_tasks
from tests.preprocess.support import REPOSITORY

Run = Callable[[int], Iterator[object]]


def make_squares() -> Run:
    return squares


def squares(number: int) -> Iterator[object]:
    yield ("begin", number)
    yield ("end", number * number)


def make_failing(how: str) -> Run:
    return partial(failing, how)


def failing(how: str, number: int) -> Iterator[object]:
    if number:
        time.sleep(60)  # the others must not be waited for
    yield "begun"
    if how == "user":
        raise WholewordError("a.txt:7: mend it")
    if how == "defect":
        raise ValueError("a surprise")
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(3)


def make_nothing() -> Run:
    raise ValueError("cannot be made")


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_run_once_and_its_events_keep_their_order(workers: int) -> None:
    events = list(run_tasks(make_squares, [3, 1, 4, 2], workers))
    assert sorted(events) == sorted(e for n in (3, 1, 4, 2) for e in squares(n))
    for number in (3, 1, 4, 2):
        assert events.index(("begin", number)) < events.index(("end", number * number))


def test_no_tasks_need_no_workers() -> None:
    assert list(run_tasks(make_nothing, [], 2)) == []


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("user", WholewordError, "^a.txt:7: mend it$"),
        ("defect", WorkerFailed, r"(?s)Traceback.*in failing.*ValueError: a surprise"),
        ("killed", WholewordError, "killed by the system, most likely because memory ran out"),
        ("exit", WholewordError, "ended with status 3"),
    ],
)
def test_a_workers_end_surfaces_at_once(how: str, kind: type[Exception], message: str) -> None:
    begin = time.monotonic()
    with pytest.raises(kind, match=message):
        list(run_tasks(partial(make_failing, how), [0, 1], 2))
    assert time.monotonic() - begin < 30  # the other worker sleeps for 60


def test_a_worker_that_cannot_start_surfaces() -> None:
    with pytest.raises(WorkerFailed, match="cannot be made"):
        list(run_tasks(make_nothing, [0, 1], 2))


SLEEPERS = """
import os, sys, time
from preprocess.run.engines import run_tasks
def make():
    return run
def run(number):
    yield os.getpid()
    time.sleep(60)
if __name__ == "__main__":
    for event in run_tasks(make, [0, 1], 2):
        print(event, flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "sleepers.py"
    script.write_text(SLEEPERS)
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    ) as parent:
        assert parent.stdout is not None
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        begin = time.monotonic()
        parent.send_signal(how)
        parent.wait(10)
        assert time.monotonic() - begin < 2
        deadline = time.monotonic() + 10
        while (alive := [pid for pid in workers if _is_alive(pid)]) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert not alive


BUSY = """
import hashlib, os
from preprocess.console import run_command
from preprocess.run.engines import run_tasks
def make():
    return run
def run(number):
    yield "begun"
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)  # minutes, without the lock, as in a kernel
if __name__ == "__main__":
    run_command(lambda: [print(event, flush=True) for event in run_tasks(make, [0], 1)])
"""


def test_ctrl_c_does_not_wait_for_a_kernel(tmp_path: Path) -> None:
    script = tmp_path / "busy.py"
    script.write_text(BUSY)
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.2)  # it is in the midst of it
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=10)
        finally:
            process.kill()
    assert time.monotonic() - begin < 2
    assert process.returncode == 130
    assert errors.startswith("error: interrupted") and errors.count("\n") == 1


def test_a_stopped_thread_closes_its_task() -> None:
    closed = []

    def run(number: int) -> Iterator[object]:
        try:
            yield number
            yield number
        finally:
            closed.append(number)

    running = run_tasks(lambda: run, [7], 1)
    assert next(running) == 7
    running.close()
    assert closed == [7]


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # a zombie has ended; whoever adopted it has not looked yet
