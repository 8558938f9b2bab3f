"""The kernel that encodes documents: one pass over the bytes, segmented chunk by chunk."""

from typing import NamedTuple

import numpy as np

from preprocess.encode.compiled import jieba, whitespace
from preprocess.encode.compiled.ascii_words import (
    WordCache,
    cache_slot,
    ends_word,
    read_word,
    spell,
)
from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.jieba import JiebaTables
from preprocess.encode.compiled.normalizer import (
    ALONE,
    CLASS_BITS,
    LETTER,
    MARK,
    PLAIN_BITS,
    SENTENCE_SHIFT,
    SEQUENCE,
    SPACE,
    UNSTABLE_BIT,
    VALUE_SHIFT,
    CharacterTables,
)
from preprocess.encode.compiled.sentences import NORMAL, advance
from preprocess.encode.compiled.unmanaged import inlined, unmanaged
from preprocess.encode.compiled.utf8 import decode, previous
from preprocess.encode.compiled.wordpiece import (
    Tokens,
    Word,
    WordPieceTables,
    emit_token,
    emit_word,
)
from preprocess.kernels import kernel

NONE, JIEBA, WHITESPACE = range(3)
"""Kinds of segmenter."""

_CHUNK = 1 << 15
"""Bytes that are segmented at a time, unless no cut is possible; they stay in the cache."""


class EncoderTables(NamedTuple):
    """Everything that the kernel reads."""

    kind: int
    """Of segmenter."""
    jieba: JiebaTables
    characters: CharacterTables
    wordpiece: WordPieceTables


class Scratch(NamedTuple):
    """What the kernel works in."""

    scores: np.ndarray
    """float64, of jieba's `score_window` elements."""
    symbols: np.ndarray
    """uint16 `[characters of a chunk + 1]`; a chunk may be a whole document."""
    marks: np.ndarray
    """uint8 `[characters of a chunk]`."""
    word: Word
    cache: WordCache


@unmanaged
@kernel
def encode_documents(
    tables: EncoderTables,
    scratch: Scratch,
    data: np.ndarray,
    text_offsets: np.ndarray,
    tokens: Tokens,
    offsets: np.ndarray,
    left_over: np.ndarray,
) -> int:
    """Encode documents one after the other.

    Args:
        tables: everything about tokenizer and segmenter.
        scratch: for documents of this length.
        data: uint8, valid UTF-8.
        text_offsets: int64 `[documents + 1]`, into `data`.
        tokens: where to write, with room for every normalized character.
        offsets: int64 `[documents + 1]`, set; 0 at first.
        left_over: bool `[documents]`, set where the reference encoder must do it; those get no
            tokens.

    Returns:
        the number of tokens.
    """
    at = 0
    for document in range(len(left_over)):
        begin, end = text_offsets[document], text_offsets[document + 1]
        last = _encode_document(tables, scratch, data, begin, end, tokens, at)
        if last < 0:
            left_over[document] = True
            scratch.word.breaks[:] = False
        else:
            at = last
        offsets[document + 1] = at
    return at


@inlined
@kernel
def _encode_document(
    tables: EncoderTables,
    scratch: Scratch,
    data: np.ndarray,
    begin: int,
    end: int,
    tokens: Tokens,
    at: int,
) -> int:
    """Encode `data[begin:end]`, a document.

    Returns:
        the end of what was written, or -1 if re-ordered marks need the reference encoder.
    """
    entries, sequences = tables.characters
    word = scratch.word
    longest = tables.wordpiece.longest_word
    segmented = tables.kind != NONE
    chunk_end = begin if segmented else end
    character = 0  # index into the marks of the chunk
    state = NORMAL
    pending = True  # a sentence begins at the next token
    length = 0  # of the word that is being read
    begins = False  # its first character begins a word of the segmenter
    sentence = False  # its first token starts a sentence
    broken = False  # a sentence begins within it
    position = begin
    while position < end:
        if position >= chunk_end:
            chunk_end = _mark_chunk(tables, scratch, data, begin, position, end)
            character = 0
        here = position
        code_point, position = decode(data, position)
        entry = signed(entries[code_point])
        mark = True
        if segmented:
            flags = scratch.marks[character]
            character += 1
            if flags & whitespace.REMOVED:
                continue
            mark = flags != 0
        sentence_class = entry >> SENTENCE_SHIFT & 7
        if state | sentence_class:
            state, boundary = advance(state, sentence_class)
            pending |= boundary
        if length == 0 and code_point < 0x80 and entry & PLAIN_BITS == LETTER:
            # Most English words go this way. No mark and no boundary inside the word matters.
            position, key = read_word(entries, data, here, chunk_end)
            character += position - here - 1
            if key != 0 and ends_word(entries, data, position, end):
                at = _emit_ascii_word(
                    tables, scratch, data, here, position, key, mark, pending, tokens, at
                )
            else:
                length = spell(entries, data, here, position, word.symbols)
                begins, sentence = mark, pending
            pending = False
            continue
        remaining = 0
        item = 0
        if entry & CLASS_BITS >= SEQUENCE:
            if entry & CLASS_BITS == MARK and _can_reorder(
                entries, data, begin, here, position, end
            ):
                return -1
            item = (entry >> VALUE_SHIFT) + 1
            remaining = signed(sequences[item - 1]) - 1
            entry = signed(sequences[item])
        while True:
            kind = entry & CLASS_BITS
            value = entry >> VALUE_SHIFT
            if kind == LETTER:
                if length == 0:
                    begins, sentence, pending = mark, pending, False
                elif pending and length <= longest:
                    word.breaks[length] = True
                    broken, pending = True, False
                word.symbols[min(length, longest)] = value
                length += 1
            elif kind in (ALONE, SPACE):
                if length > 0:
                    at, left = emit_word(
                        tables.wordpiece, word, length, begins, sentence, broken, tokens, at
                    )
                    pending |= left
                    length, broken = 0, False
                if kind == ALONE:
                    at = emit_token(tokens, at, value, mark, pending)
                    pending = False
            if remaining == 0:
                break
            # Only the first token that covers a character can begin a word of the segmenter.
            mark = mark and (not segmented or kind == SPACE)
            remaining -= 1
            item += 1
            entry = signed(sequences[item])
    if length > 0:
        at, _ = emit_word(tables.wordpiece, word, length, begins, sentence, broken, tokens, at)
    return at


@unmanaged
@kernel
def _mark_chunk(
    tables: EncoderTables,
    scratch: Scratch,
    data: np.ndarray,
    document: int,
    begin: int,
    end: int,
) -> int:
    """Set the marks of the chunk that begins at `begin`; returns its end."""
    entries = tables.characters.entries
    cut = end
    if tables.kind == JIEBA:
        if end - begin > _CHUNK:
            cut = jieba.chunk_end(tables.jieba.symbols, data, begin + _CHUNK, end)
        jieba.mark_words(
            tables.jieba, data, begin, cut, scratch.scores, scratch.symbols, scratch.marks
        )
    else:
        if end - begin > _CHUNK:
            cut = whitespace.chunk_end(entries, data, begin + _CHUNK, end)
        whitespace.mark_words(entries, data, document, begin, cut, end, scratch.marks)
    return cut


@unmanaged
@kernel
def _emit_ascii_word(
    tables: EncoderTables,
    scratch: Scratch,
    data: np.ndarray,
    begin: int,
    end: int,
    key: int,
    begins: bool,
    sentence: bool,
    tokens: Tokens,
    at: int,
) -> int:
    """Write the pieces of the short word `data[begin:end]`, from the cache if it is there."""
    cache = scratch.cache
    slot = cache_slot(key)
    if cache.keys[slot] == key:
        return emit_token(tokens, at, cache.ids[slot], begins, sentence)
    length = spell(tables.characters.entries, data, begin, end, scratch.word.symbols)
    last, _ = emit_word(tables.wordpiece, scratch.word, length, begins, sentence, False, tokens, at)
    if last == at + 1:
        cache.keys[slot] = key
        cache.ids[slot] = signed(tokens.ids[at])
    return last


@unmanaged
@kernel
def _can_reorder(
    entries: np.ndarray, data: np.ndarray, begin: int, here: int, behind: int, end: int
) -> bool:
    """Whether NFD may move the mark at `data[here:behind]` past one of its neighbours."""
    if here > begin:
        code_point, _ = decode(data, previous(data, here))
        if entries[code_point] & UNSTABLE_BIT:
            return True
    if behind < end:
        code_point, _ = decode(data, behind)
        if entries[code_point] & UNSTABLE_BIT:
            return True
    return False
