"""An iterator whose items a thread makes ahead of time."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class _End:
    """Nothing more comes, because of `error` if there is one."""

    error: BaseException | None


def prefetched(make: Callable[[], Iterator[Item]], depth: int) -> Iterator[Item]:
    """The items of `make()`, made up to `depth` ahead by a thread; by the caller if 0.

    An error in the thread is raised where its item would have come. The thread ends when the
    iterator is exhausted, closed or dropped.
    """
    if depth == 0:
        yield from make()
        return
    ready: queue.Queue[Item | _End] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Item | _End) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def work() -> None:
        end = _End(None)
        try:
            for item in make():
                put(item)
                if stopped.is_set():
                    return
        except BaseException as error:
            end = _End(error)
        put(end)

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        thread.join()
