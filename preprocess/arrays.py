"""Arrays between numpy and Arrow, whose own conversions import pandas: 0.4 s of every process."""

import numpy as np
import pyarrow as pa


def arrow_array(values: np.ndarray) -> pa.Array:
    """An Arrow array of numbers, not copied, or of bools; as `pa.array` makes it."""
    content = np.packbits(values, bitorder="little") if values.dtype == bool else values
    buffer = pa.py_buffer(np.ascontiguousarray(content))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, buffer])


def numpy_values(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Numbers of an array without nulls, not copied where it has one chunk; as by `to_numpy`."""
    if isinstance(array, pa.ChunkedArray):
        empty = np.empty(0, array.type.to_pandas_dtype())
        return np.concatenate([empty, *map(numpy_values, array.chunks)])
    data = array.buffers()[1]
    if data is None:
        return np.empty(0, array.type.to_pandas_dtype())
    values = np.frombuffer(data, array.type.to_pandas_dtype())
    return values[array.offset : array.offset + len(array)]
