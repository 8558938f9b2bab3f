"""Seams of BPE: between which two characters of a text nothing ever merges.

A merge joins the end of one piece to the beginning of another. Where no merge of a vocabulary joins
what stands before a place to what stands behind it, the parts of a pre-token before and behind it
merge each for itself. Most Han characters are such parts, and the pieces of each are known.

A seam is taken for none where a filter errs, never the other way.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.encode.compiled.utf8 import BYTES_OF_CHARACTER, decode
from preprocess.kernels import kernel

_MULTIPLIER = -7046029254386353131  # 2^64 over the golden ratio (Knuth, 6.4), as a signed number
_BITS_OF_PAIR = 16
_FULL_PREFIX, _SUFFIX_FULL, _SUFFIX_PREFIX = 0, 2, 4
"""Bits of `sides`: merges of whole characters or their last bytes, with whole ones or first bytes;
each for the character before, and one above it for the one behind."""
_BEFORE = 0b10101


class Seams(NamedTuple):
    """What merges join characters."""

    sides: np.ndarray
    """uint8 `[0x110000]`, which merges of parts of characters a character may take part in; empty
    where there are no seams."""
    pairs: np.ndarray
    """uint8, a Bloom filter of the pairs of whole characters that a merge joins."""
    shift: int
    """Bits of a hash that are not looked at."""


def seam_arrays(merges: Iterable[tuple[bytes, bytes]]) -> tuple[np.ndarray, np.ndarray]:
    """`sides` and `pairs` of `Seams`, from the pieces that merges join."""
    sides = np.zeros(0x110000, np.uint8)
    whole = set()
    for left, right in {(_last_of(left), _first_of(right)) for left, right in merges}:
        if not right:
            continue
        before, behind = _code_points_before(left), _code_points_behind(right)
        if not len(before) or not len(behind):  # no text has that
            continue
        if len(before) == len(behind) == 1:
            whole.add((int(before[0]), int(behind[0])))
            continue
        kind = _FULL_PREFIX
        if len(before) > 1:
            kind = _SUFFIX_FULL if len(behind) == 1 else _SUFFIX_PREFIX
        sides[before] |= np.uint8(1 << kind)
        sides[behind] |= np.uint8(2 << kind)
    bits = 1 << max(10, (len(whole) * _BITS_OF_PAIR - 1).bit_length())
    pairs = np.zeros(bits >> 3, np.uint8)
    keys = np.array(sorted(whole), np.int64).reshape(-1, 2)
    _mark_pairs(pairs, filter_shift(pairs), keys)
    return sides, pairs


def filter_shift(pairs: np.ndarray) -> int:
    """`shift` of a filter, whose length is a power of two."""
    return 64 - (len(pairs) * 8 - 1).bit_length()


def _last_of(piece: bytes) -> bytes:
    """The last character of a piece, or what it has of it."""
    begin = len(piece) - 1
    while begin > 0 and piece[begin] & 0xC0 == 0x80:
        begin -= 1
    return piece[begin:]


def _first_of(piece: bytes) -> bytes:
    """The first character of a piece, or what it has of it; nothing if it begins within one."""
    if piece[0] & 0xC0 == 0x80:
        return b""
    end = 1
    while end < len(piece) and piece[end] & 0xC0 == 0x80:
        end += 1
    return piece[:end]


def _code_points_before(part: bytes) -> np.ndarray:
    """The characters that end with some bytes; none for what ends within a character."""
    try:
        return np.array([ord(part.decode())])
    except UnicodeDecodeError:
        pass
    if part[0] & 0xC0 != 0x80:
        return np.zeros(0, np.int64)
    value = 0
    for byte in part:
        value = value << 6 | byte & 0x3F
    mask = (1 << 6 * len(part)) - 1
    points = np.arange(0x110000)
    return points[(points & mask == value) & (len(part) < BYTES_OF_CHARACTER)]


def _code_points_behind(part: bytes) -> np.ndarray:
    """The characters that begin with some bytes."""
    try:
        return np.array([ord(part.decode())])
    except UnicodeDecodeError:
        pass
    lead = part[0]
    size = 2 + (lead >= 0xE0) + (lead >= 0xF0)
    value = lead & (0x7F >> size)
    for byte in part[1:]:
        value = value << 6 | byte & 0x3F
    missing = 6 * (size - len(part))
    if missing <= 0:  # no UTF-8 at all
        return np.zeros(0, np.int64)
    points = np.arange(value << missing, min(value + 1 << missing, 0x110000))
    return points[BYTES_OF_CHARACTER[points] == size]


@kernel
def _mark_pairs(pairs: np.ndarray, shift: int, keys: np.ndarray) -> None:
    for index in range(len(keys)):
        place = _place(keys[index, 0], keys[index, 1], shift, len(pairs))
        pairs[place >> 3] |= np.uint8(1 << (place & 7))


@unmanaged
@kernel
def _place(left: int, right: int, shift: int, size: int) -> int:
    """The bit of two characters in the filter."""
    return (((left << 21 | right) * _MULTIPLIER) >> shift) & (8 * size - 1)


@unmanaged
@kernel
def part_end(
    sides: np.ndarray, pairs: np.ndarray, shift: int, data: np.ndarray, position: int, end: int
) -> int:
    """The first seam behind `position`, or `end`.

    Args:
        sides: of `Seams`.
        pairs: of `Seams`.
        shift: of `Seams`.
        data: uint8, valid UTF-8.
        position: below `end`, a first byte.
        end: of the pre-token.
    """
    left, position = decode(data, position)
    while position < end:
        right, behind = decode(data, position)
        if not signed(sides[left]) & (signed(sides[right]) >> 1) & _BEFORE:
            place = _place(left, right, shift, len(pairs))
            if not signed(pairs[place >> 3]) >> (place & 7) & 1:
                break
        left, position = right, behind
    return position
