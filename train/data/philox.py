"""Philox4x32-10, the counter-based generator of every random number that shapes a batch.

Salmon, Moraes, Dror, Shaw: "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011. A block of four
32-bit numbers is a pure function of a 128-bit counter and a 64-bit key, so any number can be drawn
at any time, by any process, without a state to carry.

Draw layout (part of the format; tests hold it by golden values). The key is the seed, low word
first. The counter is (draw, epoch, row low, row high), where the row is its number in the part of
the dataset. The draw's top two bits say what it is for, the rest counts blocks:

===============  ==================================================================================
`CHOOSE`         block 4g + k, k < 4: bit planes 2k and 2k + 1 of token group g (see masking)
`CHOOSE_DEEP`    block 12g + k - 4, 4 <= k < 16: bit planes 2k and 2k + 1 of token group g
`REPLACE`        block j // 2: numbers 2(j % 2) and 2(j % 2) + 1 for the row's j-th chosen token
`STRUCTURE`      block 0: the pair objective; block 1 + r // 4, number r % 4: for r = 0 whether the
                 row begins inside a run of masked words, then the lengths of its runs in order
===============  ==================================================================================

A block's numbers x0, x1, x2, x3 are also read as two 64-bit words, x0 | x1 << 32 and x2 | x3 << 32.
"""

import numpy as np

from preprocess.kernels import kernel

DRAW_LAYOUT = 1
"""Counts up when the same seed begins to give other orders, packs or masks."""

CHOOSE = np.uint64(0 << 30)
CHOOSE_DEEP = np.uint64(1 << 30)
REPLACE = np.uint64(2 << 30)
STRUCTURE = np.uint64(3 << 30)

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint64(0x9E3779B9)
_WEYL_1 = np.uint64(0xBB67AE85)


@kernel
def fill_blocks(
    words: np.ndarray,
    blocks: int,
    first: np.uint64,
    epoch: np.uint64,
    row: np.uint64,
    seed: np.uint64,
) -> None:
    """Write blocks `first`, `first` + 1, ... of a row as 2 * `blocks` 64-bit `words`.

    The 32-bit numbers live in 64-bit lanes, and the rounds stand here and not in a function of
    their own, so that the loop compiles to SIMD multiplications of 32 by 32 bits: 2 ns a block.

    Args:
        words: uint64 `[>= 2 * blocks]`, the result.
        blocks: how many; multiples of 4 fill whole vectors.
        first: uint64, draw of the first.
        epoch: uint64.
        row: uint64, its number in the part.
        seed: uint64.
    """
    key_0 = seed & _LOW
    key_1 = seed >> _HALF
    row_low = row & _LOW
    row_high = row >> _HALF
    for block in range(blocks):
        c0 = (first + np.uint64(block)) & _LOW
        c1, c2, c3 = epoch & _LOW, row_low, row_high
        k0, k1 = key_0, key_1
        for _ in range(10):
            product_0 = _MULTIPLIER_0 * c0
            product_1 = _MULTIPLIER_1 * c2
            c0 = (product_1 >> _HALF) ^ c1 ^ k0
            c1 = product_1 & _LOW
            c2 = (product_0 >> _HALF) ^ c3 ^ k1
            c3 = product_0 & _LOW
            k0 = (k0 + _WEYL_0) & _LOW
            k1 = (k1 + _WEYL_1) & _LOW
        words[2 * block] = c0 | (c1 << _HALF)
        words[2 * block + 1] = c2 | (c3 << _HALF)
