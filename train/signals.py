"""Being asked to stop: by a signal, or because the launcher is gone."""

import os
import signal
import threading
from types import FrameType


class StopRequest:
    """Remembers that this process was asked to stop; the training loop looks once a step.

    SIGTERM and SIGINT only leave a note, so repeating them is harmless. A rank whose DeepSpeed
    launcher has died (its parent changed) will never be told anything, and stops the same way.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._launcher = os.getppid() if "CROSS_SIZE" in os.environ else None
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._note)

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
        if self._launcher is not None and os.getppid() != self._launcher:
            return "the launcher is gone"
        return None
