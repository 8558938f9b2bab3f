"""WordPiece: greedy longest match first, as `tokenizers/src/models/wordpiece/mod.rs` has it."""

from typing import NamedTuple

import numpy as np

from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.trie import build_trie
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.kernels import kernel

_CONTINUATION = 1
"""The symbol that stands for the prefix `##` in the trie; characters follow from 2."""
_PREFIX = "##"
LABEL, BASE, ID = range(3)
"""Columns of a cell."""


class WordPieceTables(NamedTuple):
    """A vocabulary as a trie."""

    cells: np.ndarray
    """int32 `[cells, 3]`: label (-1 for none) and base, see `trie`; the id of the entry that ends
    there, or -1."""
    continuation: int
    """Base of the node from which pieces that continue a word start; 0 if there are none."""
    unknown: int
    """Id of the unknown token."""
    longest_word: int
    """Characters above which a word is unknown."""


class Word(NamedTuple):
    """The word that is being read."""

    symbols: np.ndarray
    """uint32 `[longest_word + 1]`."""
    breaks: np.ndarray
    """bool `[longest_word + 2]`, a sentence begins at this character; all false between words."""


class Tokens(NamedTuple):
    """Where tokens are written, long enough for all of them."""

    ids: np.ndarray
    """uint16 or uint32."""
    word_starts: np.ndarray
    """bool."""
    sentence_starts: np.ndarray
    """bool."""


def wordpiece_arrays(
    vocabulary: dict[str, int], unknown: str, longest_word: int
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Build the tables of a vocabulary.

    Returns:
        arrays for `wordpiece_tables`, and two of int64 `[0x110000]`: each character's symbol in the
        trie (0 for none), and its id as a whole word.
    """
    alphabet = sorted({ord(character) for token in vocabulary for character in token})
    symbols = np.zeros(0x110000, dtype=np.int64)
    symbols[alphabet] = np.arange(len(alphabet)) + 2
    whole_words = np.full(0x110000, vocabulary[unknown], dtype=np.int64)
    spelling = {code_point: chr(symbols[code_point]) for code_point in alphabet}
    words: dict[str, int] = {}
    for token, token_id in vocabulary.items():
        spelled = token.translate(spelling)
        if len(token) == 1:
            whole_words[ord(token)] = token_id
        if token:
            words[spelled] = token_id
        if token.startswith(_PREFIX) and len(token) > len(_PREFIX):
            words[chr(_CONTINUATION) + spelled[len(_PREFIX) :]] = token_id
    trie = build_trie(list(words))
    cells = np.full((len(trie.labels), 3), -1, dtype=np.int32)
    used = trie.labels != np.iinfo(trie.labels.dtype).max
    cells[used, LABEL] = trie.labels[used]
    cells[:, BASE] = trie.bases
    cells[trie.ends, ID] = list(words.values())
    has_pieces = trie.labels[_CONTINUATION] == _CONTINUATION
    continuation = int(trie.bases[_CONTINUATION]) if has_pieces else 0
    scalars = np.array([continuation, vocabulary[unknown], longest_word], dtype=np.int64)
    return {"cells": cells, "scalars": scalars}, symbols, whole_words


def wordpiece_tables(arrays: dict[str, np.ndarray]) -> WordPieceTables:
    """The tables, from the arrays of `wordpiece_arrays` or their copy on disk."""
    continuation, unknown, longest_word = (int(value) for value in arrays["scalars"])
    return WordPieceTables(arrays["cells"], continuation, unknown, longest_word)


@unmanaged
@kernel
def emit_token(tokens: Tokens, at: int, token: int, word_start: bool, sentence_start: bool) -> int:
    """Write one token; returns where the next one goes."""
    tokens.ids[at] = token
    tokens.word_starts[at] = word_start or sentence_start
    tokens.sentence_starts[at] = sentence_start
    return at + 1


@unmanaged
@kernel
def emit_word(
    tables: WordPieceTables,
    word: Word,
    length: int,
    begins: bool,
    sentence: bool,
    broken: bool,
    tokens: Tokens,
    at: int,
) -> tuple[int, bool]:
    """Write the pieces of one word.

    Args:
        tables: the vocabulary.
        word: its characters; `breaks` is cleared.
        length: number of characters, `longest_word + 1` or more if there are too many.
        begins: a word of the segmenter begins at its first character.
        sentence: its first token starts a sentence.
        broken: whether any of `breaks` is set.
        tokens: where to write.
        at: where to begin.

    Returns:
        the end of what was written; whether a sentence begins within the word, behind the first
        character of its last token, and so starts at the next token.
    """
    first = at
    start = 0
    while start < length:
        token, end = -1, start
        if length <= tables.longest_word:
            token, end = _longest_match(tables, word.symbols, start, length)
        if token < 0:
            at = emit_token(tokens, first, tables.unknown, begins, sentence)
            break
        at = emit_token(tokens, at, token, begins and start == 0, sentence and start == 0)
        start = end
    if not broken:
        return at, False
    return at, _break_sentences(tables, word, length, tokens, first, at)


@unmanaged
@kernel
def _longest_match(
    tables: WordPieceTables, symbols: np.ndarray, start: int, length: int
) -> tuple[int, int]:
    """Id (-1 for none) and end of the longest entry that matches at `start`."""
    cells = tables.cells
    token = -1
    end = start
    base = 0
    if start > 0:
        base = tables.continuation
        if base == 0:
            return token, end
    for index in range(start, length):
        symbol = signed(symbols[index])
        cell = base + symbol
        if cells[cell, LABEL] != symbol:
            break
        if cells[cell, ID] >= 0:
            token = signed(cells[cell, ID])
            end = index + 1
        base = signed(cells[cell, BASE])
        if base == 0:
            break
    return token, end


@unmanaged
@kernel
def _break_sentences(
    tables: WordPieceTables, word: Word, length: int, tokens: Tokens, first: int, last: int
) -> bool:
    """Start sentences at the pieces `first` to `last` of a word that holds boundaries."""
    start = 0
    index = 1  # of the first boundary not yet dealt with
    end = min(length, tables.longest_word + 1) + 1
    if last - first > 1:
        for at in range(first, last):
            seen = False
            while index <= start:
                seen |= word.breaks[index]
                index += 1
            if seen:
                tokens.word_starts[at] = True
                tokens.sentence_starts[at] = True
            _, start = _longest_match(tables, word.symbols, start, length)
    left = False
    for rest in range(index, end):
        left |= word.breaks[rest]
    word.breaks[:end] = False
    return left
