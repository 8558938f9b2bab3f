"""A cache of short pre-tokens and their pieces: text repeats its words.

It is mapped directly: a pre-token has one slot, which it takes from another. Row by row it holds
the bytes of a pre-token (see `token_key`) and its ids, three in each of the last two numbers.
"""

import numpy as np

from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.unaligned import load_word
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.kernels import kernel

ID_BITS = 21
"""Of an id in the cache."""
LONGEST = 15
"""Bytes of a pre-token that is cached."""
MOST = 6
"""Pieces of a pre-token that is cached."""

_SIZE = 1 << 16
"""Pre-tokens, a power of two; 2 MiB. To merge one takes ten times as long as to look it up."""
_HALF = MOST // 2
_NO_ID = (1 << ID_BITS) - 1
_MULTIPLIERS = (-7046029254386353131, -4417276706812531889)  # odd; as signed numbers
_HASH_SHIFT = 40


def make_cache() -> np.ndarray:
    """An empty cache, int64 `[_SIZE, 4]`."""
    return np.zeros((_SIZE, 4), np.int64)


@unmanaged
@kernel
def slot_of(cache: np.ndarray, low: int, high: int) -> int:
    """Where the cache holds a pre-token."""
    mixed = low * _MULTIPLIERS[0] ^ high * _MULTIPLIERS[1]
    return (mixed >> _HASH_SHIFT) & (len(cache) - 1)


@unmanaged
@kernel
def recall(
    cache: np.ndarray,
    slot: int,
    shapes: np.ndarray,
    length_mask: int,
    symbols: np.ndarray,
    starts: np.ndarray,
) -> int:
    """Set ids and where they start from the cache; the number of ids.

    Args:
        cache: of `make_cache`.
        slot: of the pre-token, which is there.
        shapes: uint32, by id, the bytes of a piece among other things.
        length_mask: the bits of a shape that are the bytes.
        symbols: int32, set.
        starts: int32, set; one more, where the last one ends.
    """
    count = 0
    start = 0
    packed = cache[slot, 2]
    starts[0] = 0
    while True:
        token = packed & _NO_ID
        if token == _NO_ID:
            break
        symbols[count] = token
        start += signed(shapes[token]) & length_mask
        count += 1
        starts[count] = start
        packed >>= ID_BITS
        if count == _HALF:
            packed = cache[slot, 3]
        elif count == MOST:
            break
    return count


@unmanaged
@kernel
def remember(
    cache: np.ndarray, slot: int, low: int, high: int, symbols: np.ndarray, count: int
) -> None:
    """Put a pre-token into the cache."""
    cache[slot, 0], cache[slot, 1] = low, high
    for half in range(2):
        packed = 0
        for index in range(half * _HALF + _HALF - 1, half * _HALF - 1, -1):
            packed = packed << ID_BITS | (signed(symbols[index]) if index < count else _NO_ID)
        cache[slot, 2 + half] = packed


@unmanaged
@kernel
def token_key(data: np.ndarray, begin: int, length: int) -> tuple[int, int]:
    """The bytes of a pre-token of at most LONGEST, the first 8, and the others with their number.

    The first byte is the lowest; the number stands in bits 56 on of the second.
    """
    mark = length << 56
    if begin + 16 <= len(data):
        low, high = load_word(data, begin), load_word(data, begin + 8)
        if length < 8:
            return low & ((1 << 8 * length) - 1), mark
        return low, high & ((1 << 8 * (length - 8)) - 1) | mark
    low, high = 0, 0
    for index in range(length):
        if index < 8:
            low |= signed(data[begin + index]) << 8 * index
        else:
            high |= signed(data[begin + index]) << 8 * (index - 8)
    return low, high | mark
