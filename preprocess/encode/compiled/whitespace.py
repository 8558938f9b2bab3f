"""Segmentation by white space: the rule of `preprocess.encode.segmenters`, on UTF-8 bytes.

Words are maximal runs of characters that are no white space (`str.isspace`). A run of U+0020 only
between two Han characters is a mark, not text.
"""

import numpy as np

from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.normalizer import HAN_BIT, WHITE_SPACE_BIT
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.encode.compiled.utf8 import decode, previous
from preprocess.kernels import kernel

BEGINS = 1
"""A word begins at this character."""
REMOVED = 2
"""This character is not part of the text."""


@unmanaged
@kernel
def chunk_end(entries: np.ndarray, data: np.ndarray, position: int, end: int) -> int:
    """The first place from `position` on that is not within a run of white space.

    Args:
        entries: of `CharacterTables`.
        data: uint8, valid UTF-8.
        position: any byte above the document's first.
        end: of the document.
    """
    while position < end and data[position] & 0xC0 == 0x80:
        position += 1
    while position < end:
        code_point, behind = decode(data, position)
        if not entries[code_point] & WHITE_SPACE_BIT:
            break
        position = behind
    return position


@unmanaged
@kernel
def mark_words(
    entries: np.ndarray,
    data: np.ndarray,
    document: int,
    begin: int,
    end: int,
    document_end: int,
    marks: np.ndarray,
) -> int:
    """Mark beginnings of words and characters that are removed.

    Args:
        entries: of `CharacterTables`.
        data: uint8, valid UTF-8.
        document: its first byte.
        begin: first byte of the chunk.
        end: behind its last byte; the chunk holds runs of white space whole.
        document_end: behind the document's last byte.
        marks: uint8 `[characters]`, set to a sum of BEGINS and REMOVED.

    Returns:
        the number of characters.
    """
    before = WHITE_SPACE_BIT  # entry of the character before
    if begin > document:
        code_point, _ = decode(data, previous(data, begin))
        before = signed(entries[code_point])
    position = begin
    length = 0
    while position < end:
        code_point, behind = decode(data, position)
        entry = signed(entries[code_point])
        if not entry & WHITE_SPACE_BIT:
            marks[length] = BEGINS if before & WHITE_SPACE_BIT else 0
            length += 1
            position = behind
            before = entry
            continue
        run = length
        only_spaces = True
        while position < end:
            code_point, behind = decode(data, position)
            if not entries[code_point] & WHITE_SPACE_BIT:
                break
            only_spaces &= code_point == 0x20
            marks[length] = 0
            length += 1
            position = behind
        if only_spaces and before & HAN_BIT and position < document_end:
            code_point, _ = decode(data, position)
            if entries[code_point] & HAN_BIT:
                marks[run:length] = REMOVED
        before = WHITE_SPACE_BIT
    return length
