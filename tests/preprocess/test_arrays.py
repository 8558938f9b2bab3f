"""Arrays between numpy and Arrow, held to the conversions of Arrow."""

import numpy as np
import pyarrow as pa
import pytest

from preprocess.arrays import arrow_array, numpy_values


@pytest.mark.parametrize("dtype", [bool, np.uint16, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100])
def test_arrays_are_those_that_arrow_makes(dtype: type, size: int) -> None:
    values = np.random.default_rng(size).integers(0, 2, size).astype(dtype)[::-1]
    made = arrow_array(values)
    assert made.equals(pa.array(values)) and made.type == pa.array(values).type
    made.validate(full=True)


def test_numbers_of_slices_and_chunks_come_back() -> None:
    whole = pa.array(range(10), pa.uint64())
    assert numpy_values(whole[3:7]).tolist() == [3, 4, 5, 6]
    assert numpy_values(whole[10:]).tolist() == []
    assert numpy_values(pa.array([], pa.int32())).dtype == np.int32
    chunked = pa.chunked_array([whole[3:5], whole[:0], whole[9:]])
    assert numpy_values(chunked).tolist() == [3, 4, 9]
    assert numpy_values(pa.chunked_array([], pa.uint16())).dtype == np.uint16
