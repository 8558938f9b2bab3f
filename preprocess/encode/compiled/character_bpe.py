"""BPE over characters, as SentencePiece has it (Gemma, mmBERT): text to pieces.

A document is cut at added tokens that are not special; each section between them is normalized by
a table and is one pre-token. It is cut where nothing merges (see `seams`); each part is looked up
in a cache, else merged. A character without a piece is spelled in bytes.
"""

from typing import NamedTuple

import numpy as np

from preprocess.encode.compiled.align import COVERED, FIRST, Pieces, Text
from preprocess.encode.compiled.bpe import Merges, Word, find_merges, make_word, merge_all
from preprocess.encode.compiled.byte_trie import SHAPE_LIMIT, ByteTrie, next_match
from preprocess.encode.compiled.character_map import CharacterMap, map_characters
from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.pre_token_cache import (
    LONGEST,
    MOST,
    recall,
    remember,
    slot_of,
    token_key,
)
from preprocess.encode.compiled.seams import Seams, part_end
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.encode.compiled.utf8 import count_characters, decode
from preprocess.kernels import kernel

_LENGTH_MASK = SHAPE_LIMIT - 1


class CharacterBpeTables(NamedTuple):
    """Everything that the kernel reads."""

    added: ByteTrie
    """Tokens that are found in text before anything else."""
    characters: CharacterMap
    symbols: np.ndarray
    """int32 `[0x110000]`, the piece of each character, or -1."""
    byte_ids: np.ndarray
    """int32 `[256]`, the pieces that spell characters without one."""
    merges: Merges
    seams: Seams
    shapes: np.ndarray
    """uint32 `[vocabulary]`, bytes of each piece."""


class Scratch(NamedTuple):
    """What the kernel works in; sizes in bytes of normalized text."""

    text: np.ndarray
    """uint8, a section after its normalizer."""
    origins: np.ndarray
    """int32, the character of the document that each byte of `text` stands for."""
    word: Word
    cache: np.ndarray
    """See `pre_token_cache`."""


def make_scratch(size: int, cache: np.ndarray) -> Scratch:
    """Scratch for documents of `size` bytes after normalizing."""
    return Scratch(np.empty(size, np.uint8), np.empty(size, np.int32), make_word(size + 1), cache)


@unmanaged
@kernel
def tokenize_documents(
    tables: CharacterBpeTables,
    scratch: Scratch,
    text: Text,
    pieces: Pieces,
    offsets: np.ndarray,
    left_over: np.ndarray,
) -> int:
    """Tokenize documents one after the other.

    Args:
        tables: everything about the tokenizer.
        scratch: for documents of this length.
        text: the documents.
        pieces: where to write, with room for every byte of normalized text.
        offsets: int64 `[documents + 1]`, set; 0 at first.
        left_over: bool `[documents]`, set where the library must do it; those get no piece.

    Returns:
        the number of pieces.
    """
    at = 0
    for document in range(len(left_over)):
        begin, end = text.offsets[document], text.offsets[document + 1]
        behind = _tokenize_document(tables, scratch, text.data, begin, end, pieces, at)
        if behind < 0:
            left_over[document] = True
        else:
            at = behind
        offsets[document + 1] = at
    return at


@unmanaged
@kernel
def _tokenize_document(
    tables: CharacterBpeTables,
    scratch: Scratch,
    data: np.ndarray,
    begin: int,
    end: int,
    pieces: Pieces,
    at: int,
) -> int:
    """Tokenize `data[begin:end]`; the end of what was written, -1 if the library must do it."""
    character = 0
    covered = 0  # the character behind the last piece
    position = begin
    while position < end:
        section_end, behind, token = next_match(tables.added, data, position, end)
        if section_end > position:
            length = map_characters(
                tables.characters,
                data,
                position,
                section_end,
                character,
                scratch.text,
                scratch.origins,
            )
            if length < 0:
                return -1
            at, covered = _tokenize_section(tables, scratch, length, pieces, at, covered)
            character += count_characters(data, position, section_end)
        if behind > section_end:
            pieces.ids[at] = token
            pieces.begins[at] = character
            pieces.flags[at] = FIRST | COVERED if covered > character else FIRST
            character += count_characters(data, section_end, behind)
            covered = character
            at += 1
        position = behind
    return at


@unmanaged
@kernel
def _tokenize_section(
    tables: CharacterBpeTables, scratch: Scratch, end: int, pieces: Pieces, at: int, covered: int
) -> tuple[int, int]:
    """Tokenize `text[:end]`; the end of what was written, the character behind the last piece."""
    text, origins, cache, shapes = scratch.text, scratch.origins, scratch.cache, tables.shapes
    symbols, starts = scratch.word.symbols, scratch.word.starts
    sides, pairs, shift = tables.seams.sides, tables.seams.pairs, tables.seams.shift
    position = 0
    flag = FIRST
    while position < end:
        behind = part_end(sides, pairs, shift, text, position, end)
        count = 0
        if behind - position <= LONGEST:
            low, high = token_key(text, position, behind - position)
            slot = slot_of(cache, low, high)
            if cache[slot, 0] == low and cache[slot, 1] == high:
                count = recall(cache, slot, shapes, _LENGTH_MASK, symbols, starts)
            else:
                count = _merge(tables, scratch.word, text, position, behind)
                if count <= MOST:
                    remember(cache, slot, low, high, symbols, count)
        else:
            count = _merge(tables, scratch.word, text, position, behind)
        for index in range(count):
            first = signed(origins[position + starts[index]])
            if covered > first:
                flag |= COVERED
            covered = signed(origins[position + starts[index + 1] - 1]) + 1
            pieces.ids[at] = symbols[index]
            pieces.begins[at] = first
            pieces.flags[at] = flag
            at += 1
            flag = 0
        position = behind
    return at, covered


@unmanaged
@kernel
def _merge(tables: CharacterBpeTables, word: Word, text: np.ndarray, begin: int, end: int) -> int:
    """The symbols of a part; their number."""
    count = 0
    position = begin
    while position < end:
        code_point, behind = decode(text, position)
        symbol = signed(tables.symbols[code_point])
        if symbol >= 0:
            word.symbols[count], word.starts[count] = symbol, position - begin
            count += 1
        else:
            for index in range(position, behind):
                word.symbols[count] = tables.byte_ids[text[index]]
                word.starts[count] = index - begin
                count += 1
        position = behind
    word.starts[count] = end - begin
    find_merges(tables.merges, word, count)
    return merge_all(tables.merges, word, count)
