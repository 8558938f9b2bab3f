"""The best path through the pieces of a text, `tokenizers/src/models/unigram/model.rs`.

Scores are float64, added up from left to right; of equal paths the one stays that was found first.
"""

from typing import NamedTuple

import numpy as np

from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.encode.compiled.utf8 import decode
from preprocess.kernels import kernel

_NO_PIECE = -1


class Vocabulary(NamedTuple):
    """Pieces and their scores."""

    labels: np.ndarray
    """uint16 `[cells]`, a trie over bytes plus 1, see `trie`."""
    bases: np.ndarray
    """int32 `[cells]`."""
    ids: np.ndarray
    """int32 `[cells]`, the piece that ends there, or -1."""
    scores: np.ndarray
    """float64 `[cells]`, of that piece."""
    byte_ids: np.ndarray
    """int32 `[256]`, pieces for bytes of unknown characters; empty without `byte_fallback`."""
    unknown: int
    unknown_score: float


class Paths(NamedTuple):
    """What is found in a pre-token of n bytes."""

    best: np.ndarray
    """float64 `[n + 1]`, the score of the best path that ends behind so many bytes."""
    came_from: np.ndarray
    """int32 `[n + 1]`, where its last piece starts; -1 where no path ends."""
    last: np.ndarray
    """int32 `[n + 1]`, its last piece."""
    symbols: np.ndarray
    """int32 `[n + 1]`, the pieces of the pre-token."""
    starts: np.ndarray
    """int32 `[n + 1]`, where they start."""
    ends: np.ndarray
    """int32 `[n + 1]`, where they end."""


def make_paths(size: int) -> Paths:
    """Room for pre-tokens of `size` bytes; pages that nothing is written to cost no memory."""

    def integers() -> np.ndarray:
        return np.empty(size + 1, np.int32)

    return Paths(
        best=np.empty(size + 1),
        came_from=integers(),
        last=integers(),
        symbols=integers(),
        starts=integers(),
        ends=integers(),
    )


@unmanaged
@kernel
def best_pieces(
    vocabulary: Vocabulary, paths: Paths, text: np.ndarray, begin: int, end: int
) -> tuple[int, bool]:
    """Set the pieces of a pre-token.

    Args:
        vocabulary: pieces.
        paths: set; with room for the pre-token.
        text: uint8, valid UTF-8.
        begin: of the pre-token.
        end: of the pre-token.

    Returns:
        the number of pieces, and whether none is unknown.
    """
    _find_paths(vocabulary, paths, text, begin, end)
    symbols, starts, ends = paths.symbols, paths.starts, paths.ends
    came_from, last = paths.came_from, paths.last
    count = 0
    known = True
    position = end - begin
    while position > 0:
        start = signed(came_from[position])
        piece = signed(last[position])
        stop = position
        if piece == vocabulary.unknown:  # unknown characters that follow each other are one
            known = False
            while start > 0 and last[start] == vocabulary.unknown:
                start = signed(came_from[start])
            piece = _whole_piece(vocabulary, text, begin + start, begin + stop)
        if piece == _NO_PIECE and len(vocabulary.byte_ids) > 0:
            for index in range(stop - 1, start - 1, -1):
                symbols[count] = vocabulary.byte_ids[text[begin + index]]
                starts[count], ends[count] = start, stop
                count += 1
        else:
            symbols[count] = vocabulary.unknown if piece == _NO_PIECE else piece
            starts[count], ends[count] = start, stop
            count += 1
        position = start
    for index in range(count // 2):
        other = count - 1 - index
        symbols[index], symbols[other] = symbols[other], symbols[index]
        starts[index], starts[other] = starts[other], starts[index]
        ends[index], ends[other] = ends[other], ends[index]
    return count, known


@unmanaged
@kernel
def _find_paths(
    vocabulary: Vocabulary, paths: Paths, text: np.ndarray, begin: int, end: int
) -> None:
    """Set the best path to each byte of `text[begin:end]` at which one ends."""
    best, came_from, last = paths.best, paths.came_from, paths.last
    labels, bases = vocabulary.labels, vocabulary.bases
    ids, scores = vocabulary.ids, vocabulary.scores
    length = end - begin
    best[0] = 0.0
    for index in range(1, length + 1):
        came_from[index] = -1
    start = 0
    while start < length:
        so_far = best[start]
        _, behind = decode(text, begin + start)
        single = behind - begin
        has_single = False
        base = 0
        position = start
        while position < length:
            symbol = signed(text[begin + position]) + 1
            cell = base + symbol
            if labels[cell] != symbol:
                break
            position += 1
            if ids[cell] >= 0:
                score = scores[cell] + so_far
                if came_from[position] < 0 or score > best[position]:
                    best[position] = score
                    came_from[position] = start
                    last[position] = ids[cell]
                has_single |= position == single
            base = signed(bases[cell])
            if base == 0:
                break
        if not has_single:
            score = vocabulary.unknown_score + so_far
            if came_from[single] < 0 or score > best[single]:
                best[single] = score
                came_from[single] = start
                last[single] = vocabulary.unknown
        start = single


@unmanaged
@kernel
def _whole_piece(vocabulary: Vocabulary, text: np.ndarray, begin: int, end: int) -> int:
    """The piece that `text[begin:end]` is, or -1."""
    base = 0
    cell = 0
    for position in range(begin, end):
        symbol = signed(text[position]) + 1
        cell = base + symbol
        if vocabulary.labels[cell] != symbol:
            return _NO_PIECE
        base = signed(vocabulary.bases[cell])
        if base == 0 and position + 1 < end:
            return _NO_PIECE
    return signed(vocabulary.ids[cell])
