"""BERT's normalizer and pre-tokenizer as one table, made by asking the real ones about every code point.

Both work character by character (`tokenizers/src/normalizers/bert.rs`, `pre_tokenizers/bert.rs`), so
a table that holds their answer for each code point cannot disagree with them, with one exception:
NFD, which `strip_accents` needs, re-orders combining marks. Marks of category Mn are removed after
that; the few others (viramas of Javanese, Balinese, Sundanese; marks newer than the library's
tables) get a class of their own, MARK, and a document in which one stands beside another character
that re-ordering can touch is left to the reference encoder.

An entry of the table is a uint32: bits 0-2 the class, 3-5 the class of `sentences`, 6 white space
(`str.isspace`), 7 Han, 8 whether NFD may re-order across it, 9-31 a value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tokenizers

from preprocess.compiled.sentences import character_classes
from preprocess.kernels import kernel
from preprocess.unicode import HAN_RANGES

DELETED = 0
"""Normalized to nothing."""
SPACE = 1
"""Separates words."""
LETTER = 2
"""Part of a word; the value is its symbol in WordPiece's trie, 0 if no entry holds it."""
ALONE = 3
"""A word of its own (Han, punctuation); the value is its id."""
SEQUENCE = 4
"""Normalized to several; the value is where in `sequences` the number of entries stands, they follow."""
MARK = 5
"""A SEQUENCE (of one, mostly) that NFD may re-order."""

CLASS_BITS = 0x7
SENTENCE_SHIFT = 3
PLAIN_BITS = 0x3F
"""Class and sentence class together."""
WHITE_SPACE_BIT = 1 << 6
HAN_BIT = 1 << 7
UNSTABLE_BIT = 1 << 8
VALUE_SHIFT = 9
VALUE_LIMIT = 1 << (32 - VALUE_SHIFT)

_CODE_POINTS = 0x110000
_SURROGATES = range(0xD800, 0xE000)
_BLOCK = 4096
_LOW = "\N{COMBINING TILDE OVERLAY}"  # canonical combining class 1, the lowest
_HIGH = "\N{COMBINING GREEK YPOGEGRAMMENI}"  # 240, the highest


class CharacterTables(NamedTuple):
    """What kernels read of every character."""

    entries: np.ndarray
    """uint32 `[0x110000]`."""
    sequences: np.ndarray
    """uint32: a count, that many entries, a count, ..."""


@dataclass(frozen=True)
class NormalizedCharacters:
    """What normalizer and pre-tokenizer make of each code point, before any vocabulary."""

    texts: list[str]
    """What each code point is normalized to; empty for surrogates."""
    is_space: np.ndarray
    """bool `[0x110000]`, by (normalized) code point: the pre-tokenizer drops it."""
    is_alone: np.ndarray
    """bool `[0x110000]`, by (normalized) code point: the pre-tokenizer isolates it."""
    is_mark: np.ndarray
    """bool `[0x110000]`, by code point: what is left of it can be re-ordered."""
    is_unstable: np.ndarray
    """bool `[0x110000]`, by code point: re-ordering can reach across one of its edges."""


def normalize_characters(tokenizer: tokenizers.Tokenizer) -> NormalizedCharacters:
    """Ask a tokenizer about every code point."""
    texts = _map_each(tokenizer.normalizer.normalize_str)
    is_space, is_alone = _pre_tokenizer_classes(tokenizer.pre_tokenizer)
    no = np.zeros(_CODE_POINTS, dtype=bool)
    if tokenizer.normalizer.normalize_str("e\N{COMBINING ACUTE ACCENT}") != "e":
        return NormalizedCharacters(texts, is_space, is_alone, no, no)  # no NFD
    non_starter = _non_starters()
    decomposed = _map_each(tokenizers.normalizers.NFD().normalize_str)
    is_mark = np.array([any(non_starter[ord(c)] for c in text) for text in texts])
    is_unstable = np.array(
        [
            not text or non_starter[ord(full[0])] or non_starter[ord(full[-1])]
            for text, full in zip(texts, decomposed, strict=True)
        ]
    )
    return NormalizedCharacters(texts, is_space, is_alone, is_mark, is_unstable | is_mark)


def character_tables(
    characters: NormalizedCharacters, symbols: np.ndarray, ids: np.ndarray
) -> CharacterTables:
    """Join what a character becomes with what a vocabulary holds.

    Args:
        characters: of a tokenizer.
        symbols: int64 `[0x110000]`, symbols in WordPiece's trie, 0 for none.
        ids: int64 `[0x110000]`, the id of each character as a whole word.
    """
    letters = LETTER | symbols << VALUE_SHIFT
    alone = ALONE | ids << VALUE_SHIFT
    items = np.where(characters.is_space, SPACE, np.where(characters.is_alone, alone, letters))
    sequences: list[int] = []
    entries = np.zeros(_CODE_POINTS, dtype=np.int64)
    for code_point, text in enumerate(characters.texts):
        if not text:
            continue
        if len(text) == 1:
            entry = int(items[ord(text)])
        elif len(text) == 3 and text[0] == text[2] == " ":
            entry = int(alone[ord(text[1])])
        else:
            entry = SEQUENCE
        if characters.is_mark[code_point]:
            entry = MARK
        if entry in (SEQUENCE, MARK):
            entry |= len(sequences) << VALUE_SHIFT
            sequences.append(len(text))
            sequences.extend(int(items[ord(character)]) for character in text)
        entries[code_point] = entry
    entries |= character_classes().astype(np.int64) << SENTENCE_SHIFT
    entries[[c for c in range(_CODE_POINTS) if chr(c).isspace()]] |= WHITE_SPACE_BIT
    for first, last in HAN_RANGES:
        entries[first : last + 1] |= HAN_BIT
    entries[characters.is_unstable] |= UNSTABLE_BIT
    return CharacterTables(entries.astype(np.uint32), np.array([*sequences, 0], dtype=np.uint32))


@kernel
def character_class(entry: int) -> int:
    """The class of an entry."""
    return entry & CLASS_BITS


def _map_each(function: Callable[[str], str], before: str = "", behind: str = "") -> list[str]:
    """A string function's answer for each code point, asked for many at a time.

    A vertical bar parts them: it is a starter, and BERT's normalizer leaves it as it is.
    """
    answers: list[str] = []
    bar = ord("|")
    for begin in range(0, _CODE_POINTS, _BLOCK):
        block = range(begin, begin + _BLOCK)
        texts = ["" if c in _SURROGATES or c == bar else before + chr(c) + behind for c in block]
        answers.extend(function("|".join(texts)).split("|"))
        assert len(answers) == begin + _BLOCK, "the normalizer changed the separator"
    answers[bar] = function(f"{before}|{behind}")
    return answers


def _non_starters() -> np.ndarray:
    """Which code points NFD may re-order (combining class not 0), by the library's own Unicode."""
    nfd = tokenizers.normalizers.NFD().normalize_str
    after_high = _map_each(nfd, before=_HIGH)
    before_low = _map_each(nfd, behind=_LOW)
    return np.array(
        [
            len(high) > 1 and high[-1] == _HIGH or len(low) > 1 and low[0] == _LOW
            for high, low in zip(after_high, before_low, strict=True)
        ]
    )


def _pre_tokenizer_classes(
    pre_tokenizer: tokenizers.pre_tokenizers.PreTokenizer,
) -> tuple[np.ndarray, np.ndarray]:
    """Which code points it drops, and which it isolates between letters; bool `[0x110000]`."""
    is_space = np.zeros(_CODE_POINTS, dtype=bool)
    is_alone = np.zeros(_CODE_POINTS, dtype=bool)
    for begin in range(0, _CODE_POINTS, _BLOCK):
        block = range(begin, begin + _BLOCK)
        letters = "a".join("a" if c in _SURROGATES else chr(c) for c in block)
        text = f"a{letters}a"  # the code points are the odd characters
        kept = np.zeros(len(text), dtype=bool)
        alone = np.zeros(len(text), dtype=bool)
        for _, (first, last) in pre_tokenizer.pre_tokenize_str(text):
            kept[first:last] = True
            alone[first] = last - first == 1
        is_space[begin : begin + _BLOCK] = ~kept[1::2]
        is_alone[begin : begin + _BLOCK] = alone[1::2]
    return is_space, is_alone
