"""Byte-pair encoding: merges by rank, as `tokenizers/src/models/bpe/word.rs` has them.

The pair of the lowest rank is merged first, and of equal ones the leftmost. Short words look
through all their pairs for it; long ones keep a heap, so that they take n log n.
"""

from typing import NamedTuple

import numpy as np

from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.kernels import kernel

NO_MERGE = (1 << 63) - 1
"""Above every merge."""
_SHORT = 64
"""Symbols up to which a word is looked through."""
_MULTIPLIER = -7046029254386353131  # 2^64 over the golden ratio (Knuth, 6.4), as a signed number
_ID_MASK = (1 << 32) - 1


class Merges(NamedTuple):
    """A hash table with open addressing: which pairs merge."""

    cells: np.ndarray
    """int64 `[cells, 2]`: `left << 32 | right` (-1 for an empty cell), `rank << 32 | merged`."""
    shift: int
    """Bits of a hash that are not looked at."""
    present: np.ndarray
    """uint8 `[cells]`, a Bloom filter, eight bits a cell: most pairs do not merge, and it stays in
    the processor's cache, where `cells` does not."""


class Word(NamedTuple):
    """A word of n symbols, and what merging them takes."""

    symbols: np.ndarray
    """int32 `[n]`."""
    starts: np.ndarray
    """int32 `[n + 1]`, the byte at which each symbol starts."""
    merges: np.ndarray
    """int64 `[n]`, `rank << 32 | merged` of a symbol and the next one, or NO_MERGE."""
    following: np.ndarray
    """int32 `[n]`."""
    preceding: np.ndarray
    """int32 `[n]`."""
    heap: np.ndarray
    """int64 `[3 * n]`, `rank << 32 | symbol`."""


def make_word(length: int) -> Word:
    """Room for a word; pages that nothing is written to cost no memory."""
    return Word(
        np.empty(length, np.int32),
        np.empty(length + 1, np.int32),
        np.empty(length, np.int64),
        np.empty(length, np.int32),
        np.empty(length, np.int32),
        np.empty(3 * length, np.int64),
    )


def merge_table(pairs: np.ndarray, merged: np.ndarray) -> np.ndarray:
    """`cells` of `Merges`.

    Args:
        pairs: int64 `[merges, 2]`, ids in the order of their ranks; of equal ones the last counts.
        merged: int64 `[merges]`, ids.
    """
    size = 1 << max(4, int(len(merged) * 2 - 1).bit_length())
    cells = np.full((size, 2), -1, np.int64)
    values = np.arange(len(merged)) << 32 | merged
    _insert(cells, hash_shift(size), pairs[:, 0] << 32 | pairs[:, 1], values)
    return cells


def merges_of(cells: np.ndarray) -> Merges:
    """The table of `cells`, with what follows from them."""
    shift = hash_shift(len(cells))
    present = np.zeros(len(cells), np.uint8)
    _mark_present(cells, shift, present)
    return Merges(cells, shift, present)


@kernel
def _mark_present(cells: np.ndarray, shift: int, present: np.ndarray) -> None:
    for cell in range(len(cells)):
        key = cells[cell, 0]
        if key >= 0:
            place = _filter_place(key, shift, len(cells))
            present[place >> 3] |= np.uint8(1 << (place & 7))


def hash_shift(size: int) -> int:
    """`shift` of a table of `size` cells, a power of two."""
    return 64 - (size - 1).bit_length()


@kernel
def _insert(cells: np.ndarray, shift: int, keys: np.ndarray, values: np.ndarray) -> None:
    for index in range(len(keys)):
        cell = _first_cell(keys[index], shift, len(cells))
        while cells[cell, 0] >= 0 and cells[cell, 0] != keys[index]:
            cell = (cell + 1) & (len(cells) - 1)
        cells[cell, 0] = keys[index]
        cells[cell, 1] = values[index]


@unmanaged
@kernel
def _first_cell(key: int, shift: int, size: int) -> int:
    return ((key * _MULTIPLIER) >> shift) & (size - 1)


@unmanaged
@kernel
def _filter_place(key: int, shift: int, size: int) -> int:
    """The bit of a pair in `present`: three bits more of its hash."""
    return ((key * _MULTIPLIER) >> (shift - 3)) & (8 * size - 1)


@unmanaged
@kernel
def find_merge(table: Merges, left: int, right: int) -> int:
    """`rank << 32 | merged` of two symbols, or NO_MERGE."""
    cells = table.cells
    key = left << 32 | right
    place = _filter_place(key, table.shift, len(cells))
    if not signed(table.present[place >> 3]) >> (place & 7) & 1:
        return NO_MERGE
    cell = _first_cell(key, table.shift, len(cells))
    while True:
        found = cells[cell, 0]
        if found == key:
            return signed(cells[cell, 1])
        if found < 0:
            return NO_MERGE
        cell = (cell + 1) & (len(cells) - 1)


@unmanaged
@kernel
def find_merges(table: Merges, word: Word, length: int) -> None:
    """Set `merges` of a word from its symbols."""
    for index in range(length - 1):
        word.merges[index] = find_merge(
            table, signed(word.symbols[index]), signed(word.symbols[index + 1])
        )


@unmanaged
@kernel
def merge_all(table: Merges, word: Word, length: int) -> int:
    """Merge until nothing merges.

    Args:
        table: which pairs merge.
        word: `symbols`, `starts` and `merges` (but for the last) are set; changed to what is left.
        length: number of symbols, above 0.

    Returns:
        the number of symbols left.
    """
    word.merges[length - 1] = NO_MERGE
    if length <= _SHORT:
        return _merge_short(table, word, length)
    return _merge_long(table, word, length)


@kernel
def merges_of_pairs(table: Merges, symbols: np.ndarray) -> np.ndarray:
    """What `find_merge` says of each two of some symbols, int64 `[symbols, symbols]`."""
    found = np.empty((len(symbols), len(symbols)), np.int64)
    for left in range(len(symbols)):
        for right in range(len(symbols)):
            found[left, right] = find_merge(table, signed(symbols[left]), signed(symbols[right]))
    return found


@unmanaged
@kernel
def _merge_short(table: Merges, word: Word, length: int) -> int:
    symbols, starts, merges = word.symbols, word.starts, word.merges
    while length > 1:
        best = merges[0]
        place = 0
        for index in range(1, length - 1):
            if merges[index] < best:
                best = merges[index]
                place = index
        if best == NO_MERGE:
            break
        symbols[place] = best & _ID_MASK
        length -= 1
        # One array at a time, so that the compiler moves many elements at once.
        for index in range(place + 1, length):
            symbols[index] = symbols[index + 1]
        for index in range(place + 1, length):
            starts[index] = starts[index + 1]
        for index in range(place + 1, length):
            merges[index] = merges[index + 1]
        starts[length] = starts[length + 1]
        merges[length - 1] = NO_MERGE
        if place + 1 < length:
            merges[place] = find_merge(table, signed(symbols[place]), signed(symbols[place + 1]))
        if place > 0:
            merges[place - 1] = find_merge(
                table, signed(symbols[place - 1]), signed(symbols[place])
            )
    return length


@unmanaged
@kernel
def _merge_long(table: Merges, word: Word, length: int) -> int:
    symbols, merges = word.symbols, word.merges
    following, preceding = word.following, word.preceding
    size = 0
    for index in range(length):
        following[index], preceding[index] = index + 1, index - 1
        if merges[index] != NO_MERGE:
            size = _push(word.heap, size, (merges[index] & ~_ID_MASK) | index)
    while size > 0:
        top = word.heap[0]
        size = _pop(word.heap, size)
        place = top & _ID_MASK
        if merges[place] == NO_MERGE or merges[place] >> 32 != top >> 32:
            continue  # the pair is no more
        symbols[place] = merges[place] & _ID_MASK
        gone = signed(following[place])
        merges[gone] = NO_MERGE
        behind = signed(following[gone])
        following[place] = behind
        merges[place] = NO_MERGE
        if behind < length:
            preceding[behind] = place
            merges[place] = find_merge(table, signed(symbols[place]), signed(symbols[behind]))
            if merges[place] != NO_MERGE:
                size = _push(word.heap, size, (merges[place] & ~_ID_MASK) | place)
        before = signed(preceding[place])
        if before >= 0:
            merges[before] = find_merge(table, signed(symbols[before]), signed(symbols[place]))
            if merges[before] != NO_MERGE:
                size = _push(word.heap, size, (merges[before] & ~_ID_MASK) | before)
    left = 0
    place = 0
    while place < length:
        symbols[left] = symbols[place]
        word.starts[left] = word.starts[place]
        left += 1
        place = signed(following[place])
    word.starts[left] = word.starts[length]
    return left


@unmanaged
@kernel
def _push(heap: np.ndarray, size: int, value: int) -> int:
    """Add to a binary heap; its new size."""
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if heap[parent] <= value:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = value
    return size + 1


@unmanaged
@kernel
def _pop(heap: np.ndarray, size: int) -> int:
    """Take away the lowest value of a binary heap; its new size."""
    size -= 1
    value = heap[size]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = value
    return size
