"""The bytes under an array of documents."""

import numpy as np
import pyarrow as pa


def text_buffers(documents: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes (uint8) and offsets (int64 `[documents + 1]`) of an array, both read-only."""
    _, offsets, data = documents.buffers()
    count = len(documents) + 1
    if offsets is None or not len(documents):
        return read_only(np.zeros(0, np.uint8)), read_only(np.zeros(1, np.int64))
    text_offsets = np.frombuffer(offsets, np.int64, count, documents.offset * 8)
    text = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return read_only(text), read_only(text_offsets)


def documents_of(data: np.ndarray, offsets: np.ndarray) -> pa.LargeStringArray:
    """The array that has these buffers."""
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)


def read_only(array: np.ndarray) -> np.ndarray:
    """A view with one type for numba, whatever made the array."""
    view = array.view()
    view.flags.writeable = False
    return view
