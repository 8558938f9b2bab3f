"""What is said when a memory-mapped file becomes shorter while it is read.

The system then sends SIGBUS, at an instruction in the middle of a kernel, and the instruction would
be repeated after a handler in Python, without end. So the handler is native code: it writes one
line that was made before, and ends the process.
"""

import ctypes
import faulthandler
import signal
from pathlib import Path

EXIT_STATUS = 1

_kept: list[object] = []  # the handler and its line, which the system has the addresses of


def report_truncation(folder: Path) -> None:
    """From now on, end with one line when a file of `folder` that is mapped is cut short.

    The first folder of a process is the one that is named. Python's own handlers stay; where
    faulthandler is on, so does its handler of SIGBUS.
    """
    taken = signal.getsignal(signal.SIGBUS) is not signal.SIG_DFL
    if _kept or taken or faulthandler.is_enabled():
        return
    line = (
        f"error: {folder}: a file became shorter while it was read, or its disk failed; build the "
        "shards again, or restore them, and run the same command again\n"
    ).encode()
    text = ctypes.create_string_buffer(line, len(line))
    handler = _handler(ctypes.addressof(text), len(line))
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    libc.signal(signal.SIGBUS, handler.address)
    _kept[:] = [text, handler]


def _handler(address: int, length: int):  # type: ignore[no-untyped-def]
    """Native code that writes `length` bytes from `address` to standard error, and exits."""
    import numba

    libc = ctypes.CDLL(None)
    write, end = libc.write, libc._exit
    write.argtypes, write.restype = [ctypes.c_int, ctypes.c_size_t, ctypes.c_size_t], ctypes.c_long
    end.argtypes, end.restype = [ctypes.c_int], None

    @numba.cfunc("void(int32)")
    def handle(_signal):  # type: ignore[no-untyped-def]
        write(2, address, length)
        end(EXIT_STATUS)

    return handle
