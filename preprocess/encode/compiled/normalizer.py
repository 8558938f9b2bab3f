"""BERT's normalizer and pre-tokenizer as one table, made by asking them about every code point.

Both work character by character (`tokenizers/src/normalizers/bert.rs`, `pre_tokenizers/bert.rs`),
so a table that holds their answer for each code point cannot disagree with them, with one
exception: NFD, which `strip_accents` needs, re-orders combining marks. Marks of category Mn are
removed after that; the few others (viramas of Javanese, Balinese, Sundanese; marks newer than the
library's tables) get a class of their own, MARK, and a document in which one stands beside another
character that re-ordering can touch is left to the reference encoder.

An entry of the table is a uint32: bits 0-2 the class, 3-5 the class of `sentences`, 6 white space
(`str.isspace`), 7 Han, 8 whether NFD may re-order across it, 9-31 a value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import tokenizers

from preprocess.encode.compiled.sentences import character_classes
from preprocess.read.unicode import HAN_RANGES

DELETED = 0
"""Normalized to nothing."""
SPACE = 1
"""Separates words."""
LETTER = 2
"""Part of a word; the value is its symbol in WordPiece's trie, 0 if no entry holds it."""
ALONE = 3
"""A word of its own (Han, punctuation); the value is its id."""
SEQUENCE = 4
"""Normalized to several; the value is where in `sequences` their number stands; they follow it."""
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
class Texts:
    """A short text for each code point."""

    characters: np.ndarray
    """int64, the code points of all texts."""
    offsets: np.ndarray
    """int64 `[0x110000 + 1]`, where each text begins and ends."""

    @property
    def lengths(self) -> np.ndarray:
        """Int64 `[0x110000]`."""
        return np.diff(self.offsets)

    def first(self) -> np.ndarray:
        """The first character of each text, 0 for empty ones; int64 `[0x110000]`."""
        padded = np.append(self.characters, 0)
        return np.where(self.lengths > 0, padded[self.offsets[:-1]], 0)

    def last(self) -> np.ndarray:
        """The last character of each text, 0 for empty ones; int64 `[0x110000]`."""
        return np.where(self.lengths > 0, self.characters[self.offsets[1:] - 1], 0)

    def any(self, property_of_character: np.ndarray) -> np.ndarray:
        """Whether a text holds a character with a property; bool `[0x110000]`."""
        holds = np.concatenate([[0], np.cumsum(property_of_character[self.characters])])
        return holds[self.offsets[1:]] > holds[self.offsets[:-1]]


@dataclass(frozen=True)
class NormalizedCharacters:
    """What normalizer and pre-tokenizer make of each code point, before any vocabulary."""

    texts: Texts
    """What each code point is normalized to; surrogates have no meaning."""
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
    texts = map_each(tokenizer.normalizer.normalize_str)
    is_space, is_alone = _pre_tokenizer_classes(tokenizer.pre_tokenizer)
    no = np.zeros(_CODE_POINTS, dtype=bool)
    if tokenizer.normalizer.normalize_str("e\N{COMBINING ACUTE ACCENT}") != "e":
        return NormalizedCharacters(texts, is_space, is_alone, no, no)  # no NFD
    non_starter = non_starters()
    decomposed = decompositions()
    is_mark = texts.any(non_starter)
    is_unstable = (
        is_mark
        | (texts.lengths == 0)
        | non_starter[decomposed.first()]
        | non_starter[decomposed.last()]
    )
    return NormalizedCharacters(texts, is_space, is_alone, is_mark, is_unstable)


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
    texts = characters.texts
    lengths = texts.lengths
    first = texts.first()
    middle = np.append(texts.characters, [0, 0])[texts.offsets[:-1] + 1]
    padded = (lengths == 3) & (first == ord(" ")) & (texts.last() == ord(" "))
    entries = np.where(lengths == 0, DELETED, np.where(padded, alone[middle], items[first]))
    sequences: list[int] = []
    for code_point in np.flatnonzero(((lengths > 1) & ~padded) | characters.is_mark):
        text = texts.characters[texts.offsets[code_point] : texts.offsets[code_point + 1]]
        kind = MARK if characters.is_mark[code_point] else SEQUENCE
        entries[code_point] = kind | len(sequences) << VALUE_SHIFT
        sequences += [len(text), *items[text]]
    entries |= text_properties()
    entries[characters.is_unstable] |= UNSTABLE_BIT
    return CharacterTables(entries.astype(np.uint32), np.array([*sequences, 0], dtype=np.uint32))


@cache
def text_properties() -> np.ndarray:
    """What an entry says of a code point as text, whatever the tokenizer.

    Returns:
        int64 `[0x110000]`, read-only.
    """
    entries = character_classes().astype(np.int64) << SENTENCE_SHIFT
    entries[[c for c in range(_CODE_POINTS) if chr(c).isspace()]] |= WHITE_SPACE_BIT
    for low, high in HAN_RANGES:
        entries[low : high + 1] |= HAN_BIT
    entries.flags.writeable = False  # it is shared
    return entries


def map_each(function: Callable[[str], str], before: str = "", behind: str = "") -> Texts:
    """A string function's answer for each code point, asked for many at a time.

    A vertical bar parts them: it is a starter, and BERT's normalizer leaves it as it is.
    """
    bar = ord("|")
    characters = []
    lengths = []
    for begin in range(0, _CODE_POINTS, _BLOCK):
        block = _askable(begin)
        block[block == bar] = ord("a")
        answers = _code_points(function("|".join([before + chr(c) + behind for c in block]) + "|"))
        bars = np.flatnonzero(answers == bar)
        assert len(bars) == _BLOCK, "the normalizer changed the separator"
        characters.append(answers[answers != bar])
        lengths.append(np.diff(bars, prepend=-1) - 1)
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    texts = Texts(np.concatenate(characters), offsets)
    texts.characters[texts.offsets[bar] : texts.offsets[bar + 1]] = [
        ord(c) for c in before + "|" + behind
    ]
    return texts


def _askable(begin: int) -> np.ndarray:
    """The code points of a block, with letters for surrogates, which no text holds."""
    block = np.arange(begin, begin + _BLOCK)
    block[(block >= _SURROGATES.start) & (block < _SURROGATES.stop)] = ord("a")
    return block


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.int64)


@cache
def decompositions() -> Texts:
    """NFD of each code point, by the library's own Unicode."""
    return map_each(tokenizers.normalizers.NFD().normalize_str)


@cache
def non_starters() -> np.ndarray:
    """Which code points NFD may re-order (combining class not 0), by the library's own Unicode.

    Returns:
        bool `[0x110000]`, read-only.
    """
    nfd = tokenizers.normalizers.NFD().normalize_str
    after_high = map_each(nfd, before=_HIGH)
    before_low = map_each(nfd, behind=_LOW)
    found = (after_high.last() == ord(_HIGH)) | (before_low.first() == ord(_LOW))
    found.flags.writeable = False  # it is shared
    return found


def _pre_tokenizer_classes(
    pre_tokenizer: tokenizers.pre_tokenizers.PreTokenizer,
) -> tuple[np.ndarray, np.ndarray]:
    """Which code points it drops, and which it isolates between letters; bool `[0x110000]`."""
    is_space = np.zeros(_CODE_POINTS, dtype=bool)
    is_alone = np.zeros(_CODE_POINTS, dtype=bool)
    for begin in range(0, _CODE_POINTS, _BLOCK):
        letters = "a".join(map(chr, _askable(begin)))
        text = f"a{letters}a"  # the code points are the odd characters
        kept = np.zeros(len(text), dtype=bool)
        alone = np.zeros(len(text), dtype=bool)
        for _, (first, last) in pre_tokenizer.pre_tokenize_str(text):
            kept[first:last] = True
            alone[first] = last - first == 1
        is_space[begin : begin + _BLOCK] = ~kept[1::2]
        is_alone[begin : begin + _BLOCK] = alone[1::2]
    return is_space, is_alone
