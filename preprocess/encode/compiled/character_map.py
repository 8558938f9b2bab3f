"""Normalizers that work character by character, as a table made by asking them.

A document in which one character may change what becomes of another is not normalized here: where
marks compose or are re-ordered, where graphemes of several characters are normalized as one
(`Precompiled`), and where a character vanishes, which makes the library's offsets go astray.
"""

import functools
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tokenizers

from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.normalizer import Texts, decompositions, non_starters
from preprocess.encode.compiled.tables import Tables
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.encode.compiled.utf8 import BYTES_OF_CHARACTER, decode
from preprocess.kernels import kernel

SAME = 0
"""The entry of a character that stays as it is."""
UNSURE = -1
"""The entry of a character whose neighbours matter."""

_BACKTICK, _APOSTROPHE, _QUOTE = 0x60, 0x27, 0x22
_SURROGATES = range(0xD800, 0xE000)
_GRAPHEME_CATEGORIES = {"Mn", "Mc", "Me", "Cf", "Cn", "Cs"}
_GRAPHEME_RANGES = (
    *((0x1100, 0x11FF), (0xA960, 0xA97F), (0xAC00, 0xD7FF)),  # Hangul joins
    *((0x0D, 0x0D), (0xE33, 0xE33), (0xEB3, 0xEB3), (0xFF9E, 0xFF9F)),
    *((0x1F1E6, 0x1F1FF), (0x1F3FB, 0x1F3FF)),  # flags, skin tones
    *((0xD4E, 0xD4E), (0x111C2, 0x111C3), (0x1193F, 0x1193F), (0x11941, 0x11941)),  # prepended
    *((0x11A3A, 0x11A3A), (0x11A84, 0x11A89), (0x11D46, 0x11D46), (0x11F02, 0x11F02)),
    (0x113D1, 0x113D1),
)


class CharacterMap(NamedTuple):
    """What becomes of each code point."""

    entries: np.ndarray
    """int32 `[0x110000]`: SAME, UNSURE, or where in `texts` the length of its text stands."""
    texts: np.ndarray
    """uint8: a length, that many bytes of UTF-8, a length, ..."""
    pairs_quotes: bool
    """Two of ` or of ' become one of " before anything else (ALBERT)."""


def character_map_arrays(
    normalizer: tokenizers.normalizers.Normalizer, composes: bool, by_grapheme: bool
) -> Tables:
    """The arrays of `CharacterMap`.

    Args:
        normalizer: works character by character but for what this module's docstring names.
        composes: it composes, decomposes or orders marks.
        by_grapheme: it looks at graphemes of several characters.
    """
    answers = _map_one_by_one(normalizer.normalize_str)
    unsure = answers.lengths == 0
    if composes:
        unsure |= _composing()
    if by_grapheme:
        unsure |= _joining()
    same = (answers.lengths == 1) & (answers.first() == np.arange(0x110000))
    entries = np.where(unsure, UNSURE, SAME).astype(np.int32)
    texts = bytearray(1)
    for code_point in np.flatnonzero(~unsure & ~same):
        first, last = answers.offsets[code_point], answers.offsets[code_point + 1]
        encoded = "".join(map(chr, answers.characters[first:last])).encode("utf-8", "replace")
        entries[code_point] = len(texts)
        texts += bytes([len(encoded)]) + encoded
    return {"entries": entries, "texts": np.frombuffer(bytes(texts), np.uint8)}


def most_growth(characters: Tables) -> int:
    """How many bytes a byte may become, at most."""
    entries = characters["entries"]
    longer = np.flatnonzero(entries > 0)
    lengths = characters["texts"][entries[longer]]
    return int(np.ceil(lengths / BYTES_OF_CHARACTER[longer]).max(initial=1))


def _map_one_by_one(function: Callable[[str], str]) -> Texts:
    """A string function's answer for each code point; nothing stands beside it."""
    texts = [function(chr(c)) if c not in _SURROGATES else "" for c in range(0x110000)]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
    characters = np.frombuffer("".join(texts).encode("utf-32-le"), "<u4").astype(np.int64)
    return Texts(characters, offsets)


@functools.cache
def _composing() -> np.ndarray:
    """What may compose with, or be re-ordered by, the character before it; bool `[0x110000]`."""
    decomposed = _map_one_by_one(tokenizers.normalizers.NFKD().normalize_str)
    second = non_starters().copy()
    canonical = decompositions()
    second[canonical.last()[canonical.lengths > 1]] = True
    return np.asarray(second[decomposed.first()])


@functools.cache
def _joining() -> np.ndarray:
    """What may be part of a grapheme of several characters; bool `[0x110000]`."""
    joins = np.array(
        [unicodedata.category(chr(c)) in _GRAPHEME_CATEGORIES for c in range(0x110000)]
    )
    for low, high in _GRAPHEME_RANGES:
        joins[low : high + 1] = True
    return joins


@unmanaged
@kernel
def map_characters(
    table: CharacterMap,
    data: np.ndarray,
    position: int,
    end: int,
    character: int,
    text: np.ndarray,
    origins: np.ndarray,
) -> int:
    """Normalize a document, or a section of it.

    Args:
        table: what becomes of each character.
        data: uint8, valid UTF-8.
        position: where it begins.
        end: where it ends.
        character: characters of the document before it.
        text: uint8, the normalized text is written to it.
        origins: int32, for each of its bytes, which character of the document it stands for.

    Returns:
        the number of bytes written, or -1 for a document that is left to the library.
    """
    entries, texts = table.entries, table.texts
    at = 0
    while position < end:
        here = position
        code_point, position = decode(data, here)
        is_quote = table.pairs_quotes and code_point in (_BACKTICK, _APOSTROPHE)
        if is_quote and position < end and data[position] == code_point:
            position += 1
            text[at] = _QUOTE
            origins[at] = character + 1  # what stays stands where the last one stood
            at += 1
            character += 2
            continue
        entry = signed(entries[code_point])
        if entry == SAME:
            for index in range(here, position):
                text[at] = data[index]
                origins[at] = character
                at += 1
        elif entry == UNSURE:
            return -1
        else:
            for index in range(entry + 1, entry + 1 + signed(texts[entry])):
                text[at] = texts[index]
                origins[at] = character
                at += 1
        character += 1
    return at
