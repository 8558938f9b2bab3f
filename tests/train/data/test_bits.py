import numpy as np

from preprocess.kernels import kernel
from tests.train.shard_factory import bit_address
from train.data.bits import count_ones, load_bits, trailing_zeros


@kernel
def measure(word):
    return count_ones(word), trailing_zeros(word)


def test_bits_are_loaded_from_any_bit():
    flags = np.random.default_rng(0).random(300) < 0.5
    keep = []
    for offset in (0, 1, 7, 63, 64):
        address = bit_address(flags, keep, offset)
        for begin in (0, 5, 64, 100):
            for count in (1, 63, 64):
                word = sum(1 << i for i in range(count) if flags[begin + i])
                assert int(load_bits(address + begin, count)) == word


def test_counts_and_places():
    for word in (0, 1, 1 << 63, 0b101000, 2**64 - 1):
        lowest = (word & -word).bit_length() - 1 if word else 64
        assert measure(np.uint64(word)) == (word.bit_count(), lowest)
