"""Memory of a rank's process, and when it may be written again."""

import ctypes
from typing import Any

import torch

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Let glibc keep what is freed; where there is another C library, do nothing.

    It gives large blocks back to the system, which has to clear them when the next micro-batch
    asks for them: 4% of a BERT-base step. To be called when everything is loaded, so that only what
    steps need is kept.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that it accepts
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 256 << 20)


def queued_work(device: torch.device) -> Any:
    """An event that comes when a GPU has done all that is queued now; None where nothing queues.

    Until then the GPU may still read the buffers that were copied to it.
    """
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()
    event.record()
    return event
