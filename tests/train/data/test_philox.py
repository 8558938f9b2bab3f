import numpy as np
import pytest

from tests.train.data.masking_reference import philox_block
from train.data.philox import CHOOSE, REPLACE, fill_blocks

ONES = 0xFFFFFFFF
PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)

# Known answers of Random123 1.14, tests/kat_vectors, philox4x32 with 10 rounds.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (PI, (0xA4093822, 0x299F31D0), (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]


def kernel_block(counter, key):
    words = np.zeros(2, np.uint64)
    draw, epoch, row_low, row_high = counter
    row, seed = row_low | row_high << 32, key[0] | key[1] << 32
    fill_blocks(words, 1, np.uint64(draw), np.uint64(epoch), np.uint64(row), np.uint64(seed))
    return tuple(int(word) >> shift & ONES for word in words for shift in (0, 32))


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_known_answers(counter, key, expected):
    assert kernel_block(counter, key) == expected
    assert philox_block(counter, key) == expected


def test_blocks_follow_each_other_and_equal_the_twin():
    words = np.zeros(2 * 37, np.uint64)
    row, seed = 5 + (3 << 32), 0xFEDCBA9876543210
    fill_blocks(words, 37, REPLACE, np.uint64(9), np.uint64(row), np.uint64(seed))
    for block in range(37):
        twin = philox_block((int(REPLACE) + block, 9, 5, 3), (seed & ONES, seed >> 32))
        assert int(words[2 * block]) == twin[0] | twin[1] << 32
        assert int(words[2 * block + 1]) == twin[2] | twin[3] << 32


def test_purposes_do_not_overlap():
    assert int(CHOOSE) == 0
    assert int(REPLACE) == 2 << 30
