"""UTF-8, decoded in kernels."""

import numpy as np

from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.kernels import kernel

BYTES_OF_CHARACTER = np.repeat([1, 2, 3, 4], [0x80, 0x780, 0xF800, 0x100000])
"""What each code point takes in UTF-8, int64 `[0x110000]`."""


@unmanaged
@kernel
def decode(data: np.ndarray, position: int) -> tuple[int, int]:
    """The code point at a byte position, and the position of the next one.

    Args:
        data: uint8 `[bytes]`, valid UTF-8 (RFC 3629).
        position: index of a first byte.
    """
    lead = signed(data[position])
    if lead < 0x80:
        return lead, position + 1
    second = signed(data[position + 1]) & 0x3F
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | second, position + 2
    third = signed(data[position + 2]) & 0x3F
    if lead < 0xF0:
        return (lead & 0x0F) << 12 | second << 6 | third, position + 3
    fourth = signed(data[position + 3]) & 0x3F
    return (lead & 0x07) << 18 | second << 12 | third << 6 | fourth, position + 4


@unmanaged
@kernel
def previous(data: np.ndarray, position: int) -> int:
    """The position of the first byte of the character that ends before `position`.

    Args:
        data: uint8 `[bytes]`, valid UTF-8.
        position: above 0, index of a first byte or the end of the data.
    """
    position -= 1
    while data[position] & 0xC0 == 0x80:
        position -= 1
    return position


@unmanaged
@kernel
def count_characters(data: np.ndarray, begin: int, end: int) -> int:
    """Characters that begin in `data[begin:end]`."""
    characters = 0
    for index in range(begin, end):
        characters += data[index] & 0xC0 != 0x80
    return characters
