"""Integers in kernels."""

from typing import Any

import numpy as np

from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.kernels import kernel


@unmanaged
@kernel
def signed(value: Any) -> int:
    """An element of an array as int64: numba makes a float of a uint64 and an int64 added up."""
    result: Any = np.int64(value)
    return result
