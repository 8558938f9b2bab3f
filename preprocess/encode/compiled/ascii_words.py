"""Words of ASCII letters: read at once, and the short ones looked up in a cache of recent words."""

from typing import NamedTuple

import numpy as np

from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.normalizer import (
    ALONE,
    CLASS_BITS,
    LETTER,
    PLAIN_BITS,
    SPACE,
    VALUE_SHIFT,
)
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.kernels import kernel

CACHE_SIZE = 1 << 12
"""Words in the cache; it stays in the processor's own, and text repeats its words."""

_LONGEST = 7
"""Bytes of a key, beside a 1 that says where they begin."""
_MULTIPLIER = -7046029254386353131  # 2^64 over the golden ratio (Knuth, 6.4), as a signed number
_HASH_SHIFT = 40


class WordCache(NamedTuple):
    """Recent words that are one token."""

    keys: np.ndarray
    """int64 `[CACHE_SIZE]`, see `read_word`; 0 where there is none."""
    ids: np.ndarray
    """int32 `[CACHE_SIZE]`."""


@unmanaged
@kernel
def read_word(entries: np.ndarray, data: np.ndarray, position: int, end: int) -> tuple[int, int]:
    """Go on to the end of a run of plain ASCII letters.

    Args:
        entries: of `CharacterTables`.
        data: uint8.
        position: of the first letter.
        end: of the text to look at.

    Returns:
        where the run ends, and its bytes as a number above 0; 0 if there are more than 7.
    """
    begin = position
    key = 1
    while position < end and data[position] < 0x80:
        if signed(entries[data[position]]) & PLAIN_BITS != LETTER:
            break
        key = key << 8 | signed(data[position])
        position += 1
    return position, key if position - begin <= _LONGEST else 0


@unmanaged
@kernel
def ends_word(entries: np.ndarray, data: np.ndarray, position: int, end: int) -> bool:
    """Whether the word before `position` is over: the document ends, or ASCII parts words there."""
    if position == end:
        return True
    if data[position] >= 0x80:
        return False
    kind = signed(entries[data[position]]) & CLASS_BITS
    return kind in (SPACE, ALONE)


@unmanaged
@kernel
def spell(entries: np.ndarray, data: np.ndarray, begin: int, end: int, word: np.ndarray) -> int:
    """Write the symbols of a run of letters, as many as there is room for; the number of letters.

    Args:
        entries: of `CharacterTables`.
        data: uint8.
        begin: of the run.
        end: of the run.
        word: uint32, written to.
    """
    for index in range(min(end - begin, len(word))):
        word[index] = signed(entries[data[begin + index]]) >> VALUE_SHIFT
    return end - begin


@unmanaged
@kernel
def cache_slot(key: int) -> int:
    """Where the cache holds a word."""
    return (key * _MULTIPLIER) >> _HASH_SHIFT & (CACHE_SIZE - 1)
