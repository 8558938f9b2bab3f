"""Plain words, most of English: ASCII letters behind a space or none, found eight bytes at once.

The patterns of GPT-2 and CL100K agree about them: letters go on to the first character that is no
letter, and one space before them is theirs. What is not ASCII may be a letter: no plain word ends
before it.
"""

import numpy as np

from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.unaligned import load_word, trailing_zeros
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.kernels import kernel

READ_AHEAD = 17
"""Bytes from the beginning of a plain word on that are looked at."""

_ONES = 0x0101010101010101
_HIGHEST = 0x80 * _ONES - (1 << 64)  # as a signed number
_LOW_BITS = 0x7F * _ONES
_CASE = 0x20 * _ONES
_FROM_A = (0x80 - ord("a")) * _ONES
_ABOVE_Z = (0x80 - ord("z") - 1) * _ONES


@unmanaged
@kernel
def plain_word_end(data: np.ndarray, position: int, end: int) -> int:
    """Where the plain word of up to 15 bytes that begins at `position` ends, or `position`.

    Args:
        data: uint8, valid UTF-8.
        position: below `end`.
        end: of the text.
    """
    if position + READ_AHEAD > len(data):
        return position
    space = signed(data[position] == 0x20)
    others = _not_letters(load_word(data, position + space))
    if others != 0:
        letters = trailing_zeros(others) >> 3
    else:
        others = _not_letters(load_word(data, position + space + 8))
        letters = 16 if others == 0 else 8 + (trailing_zeros(others) >> 3)
    behind = position + space + letters
    if behind >= end:
        behind = end
        letters = end - position - space
    elif data[behind] >= 0x80:
        return position
    return behind if letters > 0 and behind - position < 16 else position


@unmanaged
@kernel
def _not_letters(word: int) -> int:
    """The highest bit of each of eight bytes that is not an ASCII letter."""
    # Seven bits and these sum up below 0x100, so nothing is carried into the next byte.
    small = (word & _LOW_BITS) | _CASE
    letters = (small + _FROM_A) & ~(small + _ABOVE_Z)
    return (~letters | word) & _HIGHEST
