"""Being asked to stop: by a signal, or because the launcher is gone."""

import os
import signal
import threading
from types import FrameType

import psutil


class StopRequest:
    """Remembers that this process was asked to stop; the training loop looks once a step.

    SIGTERM, SIGINT and SIGHUP (a closed terminal; nohup's ignoring it is kept) only leave a note,
    so repeating them is harmless. A signal to the `deepspeed`
    command alone never reaches the ranks: it, or the launcher that it started, just ends. A rank
    that has lost either (a process whose parent ends gets another one) stops the same way.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._launchers = _launchers() if "CROSS_SIZE" in os.environ else []
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._note)
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
                signal.signal(signal.SIGHUP, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number

    @property
    def asked(self) -> bool:
        """Whether to stop."""
        return self.reason is not None

    @property
    def reason(self) -> str | None:
        """Why, in words."""
        if self._signal is not None:
            return signal.Signals(self._signal).name
        if self._launchers != _launchers()[: len(self._launchers)]:
            return "the launcher is gone"
        return None


def _launchers() -> list[int]:
    """Process numbers of the launcher (the parent) and, if it is one, the `deepspeed` command."""
    parent = os.getppid()
    try:
        above = psutil.Process(parent).parent()
        if above is not None and any("deepspeed" in word for word in above.cmdline()):
            return [parent, above.pid]
    except psutil.Error:
        pass
    return [parent]
