"""Memory of a rank's process."""

import ctypes

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
