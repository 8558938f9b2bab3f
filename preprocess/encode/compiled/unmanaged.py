"""Kernels without reference counts.

numba counts references to every array that a function receives or takes out of a tuple, with atomic
additions: for functions that run once a word this takes longer than the work. Kernels that allocate
nothing need no counts.
"""

from typing import Any

from preprocess.kernels import Function


def unmanaged(dispatcher: Function) -> Function:
    """A kernel, not compiled yet, that will count no references; it must not make arrays.

    It goes on top of `kernel`, `@unmanaged` above `@kernel`. (numba's option is `_nrt`.)
    """
    options: dict[str, Any] = dispatcher.targetoptions  # type: ignore[attr-defined]
    options["_nrt"] = False
    return dispatcher


def inlined(dispatcher: Function) -> Function:
    """An unmanaged kernel whose body stands where it is called.

    A function that is not inlined gets every field of every tuple of arrays on the stack, hundreds
    of numbers a call; where text is short this takes longer than the work.
    """
    options: dict[str, Any] = unmanaged(dispatcher).targetoptions  # type: ignore[attr-defined]
    options["forceinline"] = True
    return dispatcher
