"""Unigram (XLM-R, ALBERT, DeBERTa-v3): text to pieces.

A document is cut into sections where a space follows plain text, of which neither changes what
becomes of the other. A short section of plain text, most words of English, is looked up as it
stands. Any other is normalized by a table, spaces become the replacement of `Metaspace` (U+2581),
which begins each pre-token, and each pre-token takes the best path, unless it is cached.
"""

from typing import NamedTuple

import numpy as np

from preprocess.encode.compiled.align import COVERED, FIRST, Pieces, Text
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
from preprocess.encode.compiled.unaligned import load_word, trailing_zeros
from preprocess.encode.compiled.unigram_paths import Paths, Vocabulary, best_pieces, make_paths
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.encode.compiled.utf8 import count_characters, decode
from preprocess.kernels import kernel

SPACES, MIXED = 1, 2
"""Runs that one space replaces: ` {2,}`, or `\\s{2,}|[\\n\\r\\t]`."""
WHITE, REGEX_SPACE = 1, 2
"""Bits of `white`: what Rust calls white space, and what `\\s` matches."""

_MARK = (0xE2, 0x96, 0x81)  # U+2581
_LENGTH_MASK = 0xFFF
_ONES = 0x0101010101010101
_SPACES, _HIGHEST = 0x20 * _ONES, 0x80 * _ONES - (1 << 64)
_SECTION = 1 << 60
"""Marks a key in the cache: it is a section of the text, not a pre-token."""


class UnigramTables(NamedTuple):
    """Everything that the kernel reads."""

    characters: CharacterMap
    white: np.ndarray
    """uint8 `[0x110000]`, a sum of WHITE and REGEX_SPACE."""
    plain: np.ndarray
    """uint8 `[256]`, what becomes of a byte of plain text; 0 for all others."""
    vocabulary: Vocabulary
    shapes: np.ndarray
    """uint32 `[vocabulary]`, bytes of each piece."""
    collapses: int
    """0, SPACES or MIXED."""
    strips_left: bool
    strips_right: bool
    strips_first: bool
    """Before characters are mapped, not after."""
    splits_white: bool
    """White space parts words and is no text (`WhitespaceSplit`)."""
    prepends: bool
    """A text (or a word, where white space parts them) begins with U+2581."""
    splits: bool
    """U+2581 begins a pre-token."""


class Scratch(NamedTuple):
    """What the kernel works in; sizes in bytes of normalized text."""

    normalized: np.ndarray
    """uint8."""
    normalized_origins: np.ndarray
    """int32."""
    text: np.ndarray
    """uint8, with U+2581 for spaces."""
    origins: np.ndarray
    """int32, the character of the document that each byte of `text` stands for."""
    paths: Paths
    cache: np.ndarray
    """See `pre_token_cache`."""


def make_scratch(size: int, cache: np.ndarray) -> Scratch:
    """Scratch for documents of `size` bytes after normalizing and adding marks."""
    return Scratch(
        normalized=np.empty(size, np.uint8),
        normalized_origins=np.empty(size, np.int32),
        text=np.empty(size, np.uint8),
        origins=np.empty(size, np.int32),
        paths=make_paths(size),
        cache=cache,
    )


@unmanaged
@kernel
def tokenize_documents(
    tables: UnigramTables,
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
        pieces: where to write, with room for every byte.
        offsets: int64 `[documents + 1]`, set; 0 at first.
        left_over: bool `[documents]`, set where the library must do it; those get no piece.

    Returns:
        the number of pieces.
    """
    at = 0
    for document in range(len(left_over)):
        begin, end = text.offsets[document], text.offsets[document + 1]
        written = _tokenize_document(tables, scratch, text.data, begin, end, pieces, at)
        left_over[document] = written < 0
        at = max(at, written)
        offsets[document + 1] = at
    return at


@unmanaged
@kernel
def _tokenize_document(
    tables: UnigramTables,
    scratch: Scratch,
    data: np.ndarray,
    position: int,
    end: int,
    pieces: Pieces,
    at: int,
) -> int:
    """Tokenize `data[position:end]`; the end of what was written, -1 if the library must do it."""
    cache, shapes, plain = scratch.cache, tables.shapes, tables.plain
    symbols, starts = scratch.paths.symbols, scratch.paths.starts
    ids, begins, flags = pieces.ids, pieces.begins, pieces.flags
    prepends, splits_white = tables.prepends, tables.splits_white
    character = 0
    if tables.strips_first:
        begin = position
        if tables.strips_left:
            position = _skip_white(tables.white, data, begin, end)
        if tables.strips_right:
            end = _white_end(tables.white, data, position, end)
        character = count_characters(data, begin, position)
    is_first = True
    while position < end:
        behind = _next_space(data, position + 1, end)
        space = signed(data[position] == 0x20)
        mark = 3 if space or prepends else 0
        count = 0
        if not (is_first and space):
            low, high, slot = 0, 0, -1
            if behind - position <= LONGEST:
                low, high = token_key(data, position, behind - position)
                high |= _SECTION
                slot = slot_of(cache, low, high)
            if slot >= 0 and cache[slot, 0] == low and cache[slot, 1] == high:
                count = recall(cache, slot, shapes, _LENGTH_MASK, symbols, starts)
            else:
                length = _write_plain(plain, data, position + space, behind, scratch.text, mark)
                if length > mark:
                    count, known = best_pieces(
                        tables.vocabulary, scratch.paths, scratch.text, 0, length
                    )
                    if not known:
                        count = 0
                    elif slot >= 0 and count <= MOST:
                        remember(cache, slot, low, high, symbols, count)
        if count > 0:
            first = character + space
            for index in range(count):
                ids[at + index] = symbols[index]
                begins[at + index] = first - mark + starts[index]
                flags[at + index] = 0
            flags[at] = FIRST
            if space and not splits_white:
                begins[at] = character  # the mark is the space
            else:
                begins[at] = first
                if mark and count > 1 and starts[1] == mark:
                    flags[at + 1] = COVERED
            at += count
            character += behind - position
        else:
            while behind < end and not plain[data[behind - 1]]:
                behind = _next_space(data, behind + 1, end)
            at, character = _tokenize_section(
                tables, scratch, data, position, behind, character, is_first, pieces, at
            )
            if at < 0:
                break
        position = behind
        is_first = False
    return at


@unmanaged
@kernel
def _write_plain(
    plain: np.ndarray, data: np.ndarray, begin: int, end: int, text: np.ndarray, mark: int
) -> int:
    """Write `mark` bytes of U+2581 and plain text: the number of bytes, 0 if it is not plain."""
    for index in range(mark):
        text[index] = _MARK[index]
    for index in range(end - begin):
        byte = plain[data[begin + index]]
        if byte == 0:
            return 0
        text[mark + index] = byte
    return mark + end - begin


@unmanaged
@kernel
def _tokenize_section(
    tables: UnigramTables,
    scratch: Scratch,
    data: np.ndarray,
    begin: int,
    end: int,
    character: int,
    is_first: bool,
    pieces: Pieces,
    at: int,
) -> tuple[int, int]:
    """Tokenize `data[begin:end]`, `character` characters of the document before it.

    Returns:
        the end of what was written, -1 if the library must do it; and the characters passed.
    """
    length = map_characters(
        tables.characters,
        data,
        begin,
        end,
        character,
        scratch.normalized,
        scratch.normalized_origins,
    )
    if length < 0:
        return -1, character
    character = signed(scratch.normalized_origins[length - 1]) + 1
    strips_left = is_first and tables.strips_left and not tables.strips_first
    length = _mark_spaces(tables, scratch, length, strips_left)
    return _tokenize_text(tables, scratch, length, pieces, at), character


@unmanaged
@kernel
def _mark_spaces(tables: UnigramTables, scratch: Scratch, end: int, strips_left: bool) -> int:
    """Write `text` and `origins` from the normalized text; the number of bytes."""
    white, source = tables.white, scratch.normalized
    text, origins = scratch.text, scratch.origins
    position = 0
    if strips_left:
        position = _skip_white(white, source, 0, end)
    if tables.strips_right and not tables.strips_first:
        end = _white_end(white, source, position, end)
    at = 0
    starts_word = True
    while position < end:
        here = position
        code_point, position = decode(source, here)
        origin = scratch.normalized_origins[here]
        kind = white[code_point]
        is_space = code_point == 0x20
        if tables.collapses != 0 and kind != 0:
            run, many = position, 1
            while run < end:
                following, behind = decode(source, run)
                joins = following == 0x20
                if tables.collapses == MIXED:
                    joins = white[following] & REGEX_SPACE != 0
                if not joins:
                    break
                run = behind
                many += 1
            matches = is_space
            if tables.collapses == MIXED:
                matches = kind & REGEX_SPACE != 0
            if matches and many > 1:
                # The one that stays stands where the last one stood.
                origin = scratch.normalized_origins[run - 1]
                position = run
                is_space = True
            elif tables.collapses == MIXED and code_point in (0x09, 0x0A, 0x0D):
                is_space = True
        if tables.splits_white and (is_space or kind & WHITE):
            starts_word = True
            continue
        if tables.prepends and starts_word and not is_space and code_point != 0x2581:
            at = _write_mark(text, origins, at, origin)
        starts_word = False
        if is_space:
            at = _write_mark(text, origins, at, origin)
        else:
            for index in range(here, position):
                text[at] = source[index]
                origins[at] = origin
                at += 1
    return at


@unmanaged
@kernel
def _skip_white(white: np.ndarray, text: np.ndarray, position: int, end: int) -> int:
    while position < end:
        code_point, behind = decode(text, position)
        if not white[code_point] & WHITE:
            break
        position = behind
    return position


@unmanaged
@kernel
def _white_end(white: np.ndarray, text: np.ndarray, position: int, end: int) -> int:
    """Where the white space at the end of a text begins."""
    last = position
    while position < end:
        code_point, position = decode(text, position)
        if not white[code_point] & WHITE:
            last = position
    return last


@unmanaged
@kernel
def _write_mark(text: np.ndarray, origins: np.ndarray, at: int, origin: int) -> int:
    for byte in _MARK:
        text[at] = byte
        origins[at] = origin
        at += 1
    return at


@unmanaged
@kernel
def _tokenize_text(
    tables: UnigramTables, scratch: Scratch, end: int, pieces: Pieces, at: int
) -> int:
    """Write the pieces of a document; the end of what was written."""
    text, origins, cache = scratch.text, scratch.origins, scratch.cache
    symbols, starts, ends = scratch.paths.symbols, scratch.paths.starts, scratch.paths.ends
    covered = 0  # the character behind the last piece
    begin = 0
    while begin < end:
        behind = begin + 1
        if tables.splits:
            while behind < end and not (
                text[behind] == _MARK[0]
                and text[behind + 1] == _MARK[1]
                and text[behind + 2] == _MARK[2]
            ):
                behind += 1
        else:
            behind = end
        length = behind - begin
        count = 0
        low, high, slot = 0, 0, -1
        if length <= LONGEST:
            low, high = token_key(text, begin, length)
            slot = slot_of(cache, low, high)
        if slot >= 0 and cache[slot, 0] == low and cache[slot, 1] == high:
            count = recall(cache, slot, tables.shapes, _LENGTH_MASK, symbols, starts)
            for index in range(count):
                ends[index] = starts[index + 1]
        else:
            count, known = best_pieces(tables.vocabulary, scratch.paths, text, begin, behind)
            if slot >= 0 and known and count <= MOST:
                remember(cache, slot, low, high, symbols, count)
        flag = FIRST
        for index in range(count):
            first = signed(origins[begin + starts[index]])
            if covered > first:
                flag |= COVERED
            covered = signed(origins[begin + ends[index] - 1]) + 1
            pieces.ids[at] = symbols[index]
            pieces.begins[at] = first
            pieces.flags[at] = flag
            at += 1
            flag = 0
        begin = behind
    return at


@unmanaged
@kernel
def _next_space(data: np.ndarray, position: int, end: int) -> int:
    """Where the next space stands, or the end."""
    while position < end and position + 8 <= len(data):
        others = load_word(data, position) ^ _SPACES
        zeros = (others - _ONES) & ~others & _HIGHEST  # the lowest one is right
        if zeros:
            return min(position + (trailing_zeros(zeros) >> 3), end)
        position += 8
    while position < end and data[position] != 0x20:
        position += 1
    return min(position, end)
