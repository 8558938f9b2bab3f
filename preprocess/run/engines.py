"""Where tasks run: in a thread of this process, or in processes of this machine.

An engine calls `run(task)` for every task and passes on the events that it yields, from all
workers, as they come. The order of tasks is not fixed; what a task writes must not depend on it.

Python sees Ctrl-C in the main thread alone, and only between two instructions. The main thread
therefore only waits for others: a kernel may take a minute over one huge document.
"""

import contextlib
import multiprocessing as mp
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from preprocess.errors import WholewordError

TaskType = TypeVar("TaskType")
Event = TypeVar("Event")

RunTasks = Callable[..., Iterator[Any]]
"""An engine that knows its workers: `(make_run, tasks, holds_lock=False)`, as `run_tasks`."""

GRACE_SECONDS = 0.5
"""How long a thread may take after Ctrl-C to remove its temporary files and end."""


class WorkerFailed(Exception):
    """A worker raised something that is a defect; the message holds its traceback."""


@dataclass
class _Worker(Generic[TaskType]):
    process: BaseProcess
    connection: Connection
    task: TaskType | None = None


def run_tasks(
    make_run: Callable[[], Callable[[TaskType], Iterable[Event]]],
    tasks: list[TaskType],
    workers: int,
    holds_lock: bool = False,
) -> Iterator[Event]:
    """Run every task; yields what `make_run()(task)` yields.

    Args:
        make_run: called once in every worker; must be picklable where `workers` is above 1.
        tasks: in the order in which they are started.
        workers: processes; 1 runs everything in a thread of this process.
        holds_lock: the work may hold the interpreter lock for seconds, while no other thread can
            run; then a single worker is a process too.

    Raises:
        WholewordError: as a worker raised it, or because the system killed a worker.
        WorkerFailed: a worker raised anything else.
    """
    workers = min(workers, len(tasks))
    if workers <= 1 and not (holds_lock and tasks):
        yield from _run_in_thread(_events(make_run, tasks))
    else:
        yield from _run_in_processes(make_run, deque(tasks), workers)


def _events(
    make_run: Callable[[], Callable[[TaskType], Iterable[Event]]], tasks: list[TaskType]
) -> Generator[Event, None, None]:
    if tasks:
        run = make_run()
        for task in tasks:
            yield from run(task)


def _run_in_thread(events: Generator[Event, None, None]) -> Iterator[Event]:
    """Yield the events of a thread that computes each one on request."""
    asked: SimpleQueue[Future[Event | None] | None] = SimpleQueue()
    thread = threading.Thread(target=_answer, args=(events, asked), daemon=True)
    thread.start()
    timeout = None
    try:
        while True:
            future: Future[Event | None] = Future()
            asked.put(future)
            if (event := future.result()) is None:
                return
            yield event
    except KeyboardInterrupt:  # a thread inside a kernel is left behind: the process ends
        timeout = GRACE_SECONDS
        raise
    finally:
        asked.put(None)
        thread.join(timeout)


def _answer(
    events: Generator[Event, None, None], asked: "SimpleQueue[Future[Event | None] | None]"
) -> None:
    with contextlib.closing(events):
        while (future := asked.get()) is not None:
            try:
                future.set_result(next(events, None))
            except BaseException as error:
                future.set_exception(error)


def _run_in_processes(
    make_run: Callable[[], Callable[[TaskType], Iterable[Event]]],
    waiting: deque[TaskType],
    count: int,
) -> Iterator[Event]:
    pool: list[_Worker[TaskType]] = []
    try:
        pool.extend(_start(make_run) for _ in range(count))
        for worker in pool:
            _give(worker, waiting)
        while busy := [worker for worker in pool if worker.task is not None]:
            ready = wait([worker.connection for worker in busy])
            for worker in busy:
                if worker.connection in ready:
                    yield from _receive(worker, waiting)
    finally:
        for worker in pool:
            worker.process.kill()
        for worker in pool:
            worker.process.join()


def _start(make_run: Callable[[], Callable[[TaskType], Iterable[Event]]]) -> _Worker[TaskType]:
    context = mp.get_context("spawn")  # a fork would copy locks of threads that it does not have
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, make_run), daemon=True)
    # Ctrl-C is for the parent, which ends its workers. They inherit the signal blocked, so that
    # none reports it while importing. (Starting the resource tracker would unblock it.)
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return _Worker(process, ours)


def _give(worker: _Worker[TaskType], waiting: deque[TaskType]) -> None:
    worker.task = waiting.popleft() if waiting else None
    with contextlib.suppress(OSError):  # its death is noticed by _receive
        worker.connection.send(worker.task)


def _receive(worker: _Worker[TaskType], waiting: deque[TaskType]) -> Iterator[Event]:
    try:
        kind, value = worker.connection.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        raise _death(worker.process.exitcode) from None
    if kind == "event":
        yield value
    elif kind == "done":
        _give(worker, waiting)
    elif kind == "error":
        raise WholewordError(value)
    else:
        raise WorkerFailed(value)


def _death(exit_code: int | None) -> WholewordError:
    if exit_code == -signal.SIGKILL:
        return WholewordError(
            "a worker was killed by the system, most likely because memory ran out; run the same "
            "command again with fewer --workers (what is finished is kept)"
        )
    reason = f"signal {-exit_code}" if exit_code and exit_code < 0 else f"status {exit_code}"
    return WholewordError(
        f"a worker ended with {reason}; run the same command again (what is finished is kept)"
    )


def _work(
    connection: Connection, make_run: Callable[[], Callable[[TaskType], Iterable[Event]]]
) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        run = make_run()
        while (task := connection.recv()) is not None:
            for event in run(task):
                connection.send(("event", event))
            connection.send(("done", None))
    except WholewordError as error:
        connection.send(("error", str(error)))
    except EOFError:
        pass
    except BaseException:
        connection.send(("failed", traceback.format_exc()))


def _end_with_parent() -> None:
    """A worker whose parent was killed must not keep writing into the folder of a new build."""
    parent = mp.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
