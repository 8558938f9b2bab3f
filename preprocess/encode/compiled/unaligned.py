"""Eight bytes at once, from any place of an array, and which of them is the one."""

from typing import Any

from preprocess.kernels import numba  # which sets numba's cache folder before it imports it


def _load_word(context: Any, data: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        pointer = builder.bitcast(place, context.get_value_type(numba.types.int64).as_pointer())
        return builder.load(pointer, align=1)

    return numba.types.int64(data, numba.types.intp), generate


load_word: Any = numba.extending.intrinsic(_load_word)
"""Eight bytes of a uint8 array from an index on, as int64; the first is the lowest.

`load_word(data, index)` is one instruction; plain kernels would take eight loads and shifts.
"""


def _trailing_zeros(context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        is_never_zero = context.get_constant(numba.types.boolean, False)
        return builder.cttz(arguments[0], is_never_zero)

    return numba.types.int64(value), generate


trailing_zeros: Any = numba.extending.intrinsic(_trailing_zeros)
"""How many of the lowest bits of an int64 are zero."""
