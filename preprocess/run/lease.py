"""The lock of a build at an address, where the system has none: an object that is renewed.

It holds a token of its build, which is made anew every few seconds. Whoever finds one that changes
while it looks knows that a build is running; one that stands still is a dead build's, and is taken
over. A build that no longer finds its own ends. Where the store can refuse to replace an object
(`If-None-Match`), two builds that begin at once cannot both have it.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from preprocess.errors import WholewordError
from preprocess.files import create

RENEW_SECONDS = 10.0
LOOK_SECONDS = 3 * RENEW_SECONDS
"""How long a lease must stand still to be a dead build's."""


@contextmanager
def lease(output: Path, path: Path) -> Iterator[Callable[[], None]]:
    """Hold a lease while the block runs; yields a check that it still is ours.

    Args:
        output: what it is for, as the messages call it.
        path: the lease's place.

    Raises:
        WholewordError: another build holds it, or has taken it over (from the check).
    """
    token = uuid.uuid4().hex
    if not _create(path, token, 0):
        _wait_for_end(output, path)
        path.unlink(missing_ok=True)
        if not _create(path, token, 0):
            raise _taken(output)
    lost, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=_renew, args=(path, token, lost, done), daemon=True)
    thread.start()

    def check() -> None:
        if lost.is_set():
            raise _taken(output)

    try:
        yield check
    finally:
        done.set()
        thread.join()
        with contextlib.suppress(OSError):
            if not lost.is_set() and _read(path).get("token") == token:
                path.unlink(missing_ok=True)


def _taken(output: Path) -> WholewordError:
    return WholewordError(
        f"{output}: another build is writing here; wait for it, or name another --output"
    )


def _content(token: str, count: int) -> bytes:
    owner = {"machine": _machine(), "process": os.getpid()}
    return json.dumps({"token": token, "count": count, **owner}).encode()


def _machine() -> str:
    """This machine since it was started: its name alone may be another's too."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return socket.gethostname()


def _create(path: Path, token: str, count: int) -> bool:
    """Put the lease where there is none; whether there was none."""
    return create(path, _content(token, count))


def _read(path: Path) -> dict[str, Any]:
    """What a lease says; nothing where there is none."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def _wait_for_end(output: Path, path: Path) -> None:
    """Return once the lease is nobody's.

    Raises:
        WholewordError: it is renewed.
    """
    found = _read(path)
    if found.get("machine") == _machine() and not _is_running(found.get("process")):
        return
    end = time.monotonic() + LOOK_SECONDS
    while found and time.monotonic() < end:
        time.sleep(min(RENEW_SECONDS / 2, LOOK_SECONDS))
        now = _read(path)
        if now and now != found:
            raise _taken(output)
        found = now


def _is_running(process: Any) -> bool:
    return isinstance(process, int) and Path(f"/proc/{process}").exists()


def _renew(path: Path, token: str, lost: threading.Event, done: threading.Event) -> None:
    count = 0
    while not done.wait(RENEW_SECONDS):
        count += 1
        # While the store does not answer, the build's own requests say so.
        with contextlib.suppress(OSError):
            found = _read(path)
            if found.get("token") != token:
                lost.set()
                return
            path.write_bytes(_content(token, count))
