"""What the kernels need below numpy: views of Arrow buffers by address, and two bit operations.

A pack's rows lie in many memory maps, which a kernel cannot take as arguments; it takes their
addresses. Whoever calls such a kernel keeps the maps alive.
"""

from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

from preprocess.kernels import kernel

Int = int | np.signedinteger[Any]
"""A whole number in a kernel."""


def _pointer_to(result):  # type: ignore[no-untyped-def]
    def typer(_context, address):  # type: ignore[no-untyped-def]
        def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(result)(address), build

    return intrinsic(typer)


_uint16_pointer = _pointer_to(types.uint16)
_uint32_pointer = _pointer_to(types.uint32)
_uint64_pointer = _pointer_to(types.uint64)


def _trailing_zeros(_context, word):  # type: ignore[no-untyped-def]
    """Place of the lowest set bit of a uint64; 64 if there is none."""

    def build(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], context.get_constant(types.boolean, False))

    return types.uint64(types.uint64), build


def _count_ones(_context, word):  # type: ignore[no-untyped-def]
    """Number of set bits of a uint64."""

    def build(_context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), build


trailing_zeros: Callable[[np.uint64], np.uint64] = cast(Any, intrinsic(_trailing_zeros))
count_ones: Callable[[np.uint64], np.uint64] = cast(Any, intrinsic(_count_ones))


@kernel
def uint16_view(address: int, length: int) -> np.ndarray:
    """The array of `length` uint16 at `address`."""
    return numba.carray(_uint16_pointer(address), (length,), np.uint16)


@kernel
def uint32_view(address: int, length: int) -> np.ndarray:
    """The array of `length` uint32 at `address`."""
    return numba.carray(_uint32_pointer(address), (length,), np.uint32)


@kernel
def load_bits(bit_address: int, bits: int) -> np.uint64:
    """`bits` (1 to 64) bits from an absolute bit address (8 * byte address + bit), zeros above.

    Only aligned 64-bit words are read, and only those that hold a wanted bit, so no read crosses
    into a page that the buffer does not touch.
    """
    shift = np.uint64(bit_address & 63)
    source = numba.carray(_uint64_pointer((bit_address >> 6) << 3), (2,), np.uint64)
    word = source[0] >> shift
    if shift + np.uint64(bits) > np.uint64(64):
        word |= source[1] << (np.uint64(64) - shift)
    if bits < 64:
        word &= (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    return word
