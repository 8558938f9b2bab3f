"""Unigram: the best path through the pieces of a text, `tokenizers/src/models/unigram/model.rs`.

Scores are float64, added up from left to right; of equal paths the one stays that was found first.
A document is normalized by a table, spaces become the replacement of `Metaspace` (U+2581), which
begins each pre-token, and each pre-token takes the best path, unless it is cached.
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
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.encode.compiled.utf8 import decode
from preprocess.kernels import kernel

SPACES, MIXED = 1, 2
"""Runs that one space replaces: ` {2,}`, or `\\s{2,}|[\\n\\r\\t]`."""
WHITE, REGEX_SPACE = 1, 2
"""Bits of `white`: what Rust calls white space, and what `\\s` matches."""

_MARK = (0xE2, 0x96, 0x81)  # U+2581
_NO_PIECE = -1
_LENGTH_MASK = 0xFFF


class UnigramTables(NamedTuple):
    """Everything that the kernel reads."""

    characters: CharacterMap
    white: np.ndarray
    """uint8 `[0x110000]`, a sum of WHITE and REGEX_SPACE."""
    labels: np.ndarray
    """uint16 `[cells]`, the vocabulary as a trie over bytes plus 1, see `trie`."""
    bases: np.ndarray
    """int32 `[cells]`."""
    ids: np.ndarray
    """int32 `[cells]`, the piece that ends there, or -1."""
    scores: np.ndarray
    """float64 `[cells]`, of that piece."""
    shapes: np.ndarray
    """uint32 `[vocabulary]`, bytes of each piece."""
    byte_ids: np.ndarray
    """int32 `[256]`, pieces for bytes of unknown characters; empty without `byte_fallback`."""
    unknown: int
    unknown_score: float
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
    best: np.ndarray
    """float64, the score of the best path that ends behind so many bytes."""
    came_from: np.ndarray
    """int32, where its last piece starts; -1 where no path ends."""
    last: np.ndarray
    """int32, its last piece."""
    symbols: np.ndarray
    """int32, the pieces of a pre-token."""
    starts: np.ndarray
    """int32, where they start."""
    ends: np.ndarray
    """int32, where they end."""
    cache: np.ndarray
    """See `pre_token_cache`."""


def make_scratch(size: int, cache: np.ndarray) -> Scratch:
    """Scratch for documents of `size` bytes after normalizing and adding marks."""

    def integers() -> np.ndarray:
        return np.empty(size + 1, np.int32)

    return Scratch(
        normalized=np.empty(size, np.uint8),
        normalized_origins=integers(),
        text=np.empty(size, np.uint8),
        origins=integers(),
        best=np.empty(size + 1),
        came_from=integers(),
        last=integers(),
        symbols=integers(),
        starts=integers(),
        ends=integers(),
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
        character = 0
        if tables.strips_first:
            stripped = begin
            if tables.strips_left:
                stripped = _skip_white(tables.white, text.data, begin, end)
            if tables.strips_right:
                end = _white_end(tables.white, text.data, stripped, end)
            for index in range(begin, stripped):
                character += text.data[index] & 0xC0 != 0x80
            begin = stripped
        length = map_characters(
            tables.characters,
            text.data,
            begin,
            end,
            character,
            scratch.normalized,
            scratch.normalized_origins,
        )
        if length < 0:
            left_over[document] = True
        else:
            length = _mark_spaces(tables, scratch, length)
            at = _tokenize_text(tables, scratch, length, pieces, at)
        offsets[document + 1] = at
    return at


@unmanaged
@kernel
def _mark_spaces(tables: UnigramTables, scratch: Scratch, end: int) -> int:
    """Write `text` and `origins` from the normalized text; the number of bytes."""
    white, source = tables.white, scratch.normalized
    text, origins = scratch.text, scratch.origins
    position = 0
    if tables.strips_left and not tables.strips_first:
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
    symbols, starts, ends = scratch.symbols, scratch.starts, scratch.ends
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
            slot = slot_of(low, high)
        if slot >= 0 and cache[slot, 0] == low and cache[slot, 1] == high:
            count = recall(cache, slot, tables.shapes, _LENGTH_MASK, symbols, starts)
            for index in range(count):
                ends[index] = starts[index + 1]
        else:
            count, known = _best_pieces(tables, scratch, begin, behind)
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
def _best_pieces(tables: UnigramTables, scratch: Scratch, begin: int, end: int) -> tuple[int, bool]:
    """Set the pieces of `text[begin:end]`: their number, and whether none is unknown."""
    _find_paths(tables, scratch, begin, end)
    symbols, starts, ends = scratch.symbols, scratch.starts, scratch.ends
    came_from, last = scratch.came_from, scratch.last
    count = 0
    known = True
    position = end - begin
    while position > 0:
        start = signed(came_from[position])
        piece = signed(last[position])
        stop = position
        if piece == tables.unknown:  # unknown characters that follow each other are one
            known = False
            while start > 0 and last[start] == tables.unknown:
                start = signed(came_from[start])
            piece = _whole_piece(tables, scratch.text, begin + start, begin + stop)
        if piece == _NO_PIECE and len(tables.byte_ids) > 0:
            for index in range(stop - 1, start - 1, -1):
                symbols[count] = tables.byte_ids[scratch.text[begin + index]]
                starts[count], ends[count] = start, stop
                count += 1
        else:
            symbols[count] = tables.unknown if piece == _NO_PIECE else piece
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
def _find_paths(tables: UnigramTables, scratch: Scratch, begin: int, end: int) -> None:
    """Set the best path to each byte of `text[begin:end]` at which one ends."""
    text = scratch.text
    best, came_from, last = scratch.best, scratch.came_from, scratch.last
    labels, bases, ids, scores = tables.labels, tables.bases, tables.ids, tables.scores
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
            score = tables.unknown_score + so_far
            if came_from[single] < 0 or score > best[single]:
                best[single] = score
                came_from[single] = start
                last[single] = tables.unknown
        start = single


@unmanaged
@kernel
def _whole_piece(tables: UnigramTables, text: np.ndarray, begin: int, end: int) -> int:
    """The piece that `text[begin:end]` is, or -1."""
    base = 0
    cell = 0
    for position in range(begin, end):
        symbol = signed(text[position]) + 1
        cell = base + symbol
        if tables.labels[cell] != symbol:
            return _NO_PIECE
        base = signed(tables.bases[cell])
        if base == 0 and position + 1 < end:
            return _NO_PIECE
    return signed(tables.ids[cell])
