"""Byte-level BPE (GPT-2, RoBERTa, ModernBERT, GPT-NeoX, Llama 3, Qwen): text to pieces.

A document is cut at added tokens that are not special; each section between them gets its prefix
space and is cut into pre-tokens; those of other scripts are cut further where nothing merges (see
`seams`); each part is looked up in a cache, else merged. Offsets are the library's, trimmed where
its post-processor trims them.
"""

from typing import NamedTuple

import numpy as np

from preprocess.encode.compiled.align import COVERED, FIRST, Pieces, Text
from preprocess.encode.compiled.bpe import Merges, Word, find_merges, make_word, merge_all
from preprocess.encode.compiled.byte_trie import SHAPE_LIMIT, ByteTrie, longest_match, next_match
from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.nfc import is_composed
from preprocess.encode.compiled.plain_words import plain_word_end
from preprocess.encode.compiled.pre_token_cache import (
    LONGEST,
    MOST,
    make_cache,
    recall,
    remember,
    slot_of,
    token_key,
)
from preprocess.encode.compiled.pretokens import CL100K, GPT2, PreTokenizerTables, pre_token_end
from preprocess.encode.compiled.seams import Seams, part_end
from preprocess.encode.compiled.unmanaged import inlined, unmanaged
from preprocess.encode.compiled.utf8 import count_characters, decode
from preprocess.kernels import kernel

LEAD_SHIFT, TRAIL_SHIFT = 12, 22

_NOT_ASCII = 0x0080808080808080 - (1 << 63)  # the highest bit of each byte
LENGTH_MASK = (1 << LEAD_SHIFT) - 1
_COUNT_MASK = SHAPE_LIMIT - 1
_PART = 1 << 60
"""Marks a key in the cache: it is not a whole pre-token, which might be in the vocabulary."""


class ByteLevelTables(NamedTuple):
    """Everything that the kernel reads."""

    added: ByteTrie
    """Tokens that are found in text before anything else."""
    composition: np.ndarray
    """uint8 `[0x110000]`, see `nfc`; empty where text is not normalized."""
    pre_tokenizer: PreTokenizerTables
    byte_ids: np.ndarray
    """int32 `[256]`, the symbol of each byte, or -1."""
    unknown: int
    """Id of the unknown token, for bytes without a symbol."""
    fuse_unknown: bool
    """Unknown bytes that follow each other are one symbol."""
    merges: Merges
    byte_merges: np.ndarray
    """int64 `[256, 256]`, what `find_merge` says of the symbols of two bytes."""
    seams: Seams
    characters: np.ndarray
    """int32 `[0x10000, 4]`, of characters of three bytes that nothing merges with: how many pieces
    there are and which; empty where there are no seams."""
    wholes: ByteTrie
    """The vocabulary, where a pre-token that it holds is not merged (`ignore_merges`)."""
    shapes: np.ndarray
    """uint32 `[vocabulary]`: bytes of a token, spaces that it begins with and ends with, from bits
    0, 12 and 22 on."""
    prefix_space: bool
    """A section that does not begin with a space gets one."""
    trims: bool
    """Offsets leave out spaces."""
    trim_keeps_first: bool
    """But for one that a text begins with."""


class Scratch(NamedTuple):
    """What the kernel works in."""

    word: Word
    ends: np.ndarray
    """int64 `[levels]`, where the piece of each pre-tokenizer ends."""
    prefixed: np.ndarray
    """uint8, a section with its prefix space."""
    prefixed_view: np.ndarray
    """The same, read-only, so that text is always of one type."""
    cache: np.ndarray
    """See `pre_token_cache`."""


def make_scratch(longest: int, levels: int) -> Scratch:
    """Scratch for documents of up to `longest` bytes."""
    prefixed = np.empty(longest + 1, np.uint8)
    view = prefixed.view()
    view.flags.writeable = False
    return Scratch(
        make_word(longest + 1),
        np.zeros(levels, np.int64),
        prefixed,
        view,
        make_cache(),
    )


@unmanaged
@kernel
def tokenize_documents(
    tables: ByteLevelTables,
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
        pieces: where to write; twice as many as there are bytes at most.
        offsets: int64 `[documents + 1]`, set; 0 at first.
        left_over: bool `[documents]`, set where text may have to be normalized; those get none.

    Returns:
        the number of pieces.
    """
    at = 0
    for document in range(len(left_over)):
        begin, end = text.offsets[document], text.offsets[document + 1]
        if len(tables.composition) > 0 and not is_composed(
            tables.composition, text.data, begin, end
        ):
            left_over[document] = True
        else:
            at = _tokenize_document(tables, scratch, text.data, begin, end, pieces, at)
        offsets[document + 1] = at
    return at


@inlined
@kernel
def _tokenize_document(
    tables: ByteLevelTables,
    scratch: Scratch,
    data: np.ndarray,
    begin: int,
    end: int,
    pieces: Pieces,
    at: int,
) -> int:
    """Tokenize `data[begin:end]`; the end of what was written."""
    first = at
    character = 0
    covered = 0  # the character behind the last piece
    position = begin
    while position < end:
        section_end, behind, token = next_match(tables.added, data, position, end)
        if section_end > position:
            at, character, covered = _tokenize_section(
                tables, scratch, data, position, section_end, pieces, first, at, character, covered
            )
        if behind > section_end:
            begins = character
            character += count_characters(data, section_end, behind)
            ends = character
            if tables.trims:
                keeps = tables.trim_keeps_first and (at == first or begins == 0)
                begins, ends = _trim(signed(tables.shapes[token]), keeps, begins, ends)
            pieces.ids[at] = token
            pieces.begins[at] = begins
            pieces.flags[at] = FIRST | COVERED if covered > begins else FIRST
            covered = ends
            at += 1
        position = behind
    return at


@inlined
@kernel
def _tokenize_section(
    tables: ByteLevelTables,
    scratch: Scratch,
    data: np.ndarray,
    begin: int,
    end: int,
    pieces: Pieces,
    first: int,
    at: int,
    origin: int,
    covered: int,
) -> tuple[int, int, int]:
    """Tokenize text between added tokens, `origin` characters of the document before it.

    A piece that begins within a character covers that character; the prefix space stands for the
    character behind it.

    Returns:
        the end of what was written, the characters passed, and the one behind the last piece.
    """
    prefix = 0
    if tables.prefix_space and data[begin] != 0x20:
        scratch.prefixed[0] = 0x20
        for index in range(end - begin):
            scratch.prefixed[index + 1] = data[begin + index]
        data, begin, end = scratch.prefixed_view, 0, end - begin + 1
        prefix = 1
    # Arrays one by one: a function that is not inlined gets every field of a tuple on the stack.
    ends, cache, shapes = scratch.ends, scratch.cache, tables.shapes
    symbols, starts = scratch.word.symbols, scratch.word.starts
    sides, pairs, pairs_shift = tables.seams.sides, tables.seams.pairs, tables.seams.shift
    has_wholes = len(tables.wholes.labels) > 0
    has_plain = len(ends) == 1 and tables.pre_tokenizer.kinds[0] in (GPT2, CL100K)
    ends[:] = begin
    character = 0  # within the section
    position = begin
    limit = begin  # of the pre-token
    is_part = False
    while position < end:
        flag = 0
        if position == limit:
            limit = _pre_token_end(tables.pre_tokenizer, ends, has_plain, data, position, end)
            flag = FIRST
            is_part = False
        behind = limit
        if len(sides) > 0 and (data[position] >= 0x80 or limit - position > LONGEST):
            if not (flag and has_wholes and _is_whole(tables.wholes, data, position, limit)):
                behind = part_end(sides, pairs, pairs_shift, data, position, limit)
                is_part = has_wholes
            if behind - position == 3 and data[position] >= 0xE0 and is_part == has_wholes:
                code_point, _ = decode(data, position)
                begins = origin + character - prefix
                for index in range(1, 1 + signed(tables.characters[code_point, 0])):
                    if covered > begins:
                        flag |= COVERED
                    covered = begins + 1
                    pieces.ids[at] = tables.characters[code_point, index]
                    pieces.begins[at] = begins
                    pieces.flags[at] = flag
                    at += 1
                    flag = 0
                character += 1
                position = behind
                continue
        length = behind - position
        count = 0
        is_ascii = False
        if length <= LONGEST:
            low, high = token_key(data, position, length)
            is_ascii = (low | high) & _NOT_ASCII == 0
            if is_part:
                high |= _PART
            slot = slot_of(cache, low, high)
            if cache[slot, 0] == low and cache[slot, 1] == high:
                count = recall(cache, slot, shapes, LENGTH_MASK, symbols, starts)
            else:
                count, known = _merge(tables, scratch.word, data, position, behind, is_part)
                if count <= MOST and known:
                    remember(cache, slot, low, high, symbols, count)
        else:
            count, _ = _merge(tables, scratch.word, data, position, behind, is_part)
        for index in range(count):
            token = signed(symbols[index])
            first_character = character
            if is_ascii:
                character += starts[index + 1] - starts[index]
            else:
                here = position + signed(starts[index])
                first_character -= data[here] & 0xC0 == 0x80
                character += count_characters(data, here, position + signed(starts[index + 1]))
            begins = origin + max(first_character - prefix, 0)
            ends_at = origin + max(character - prefix, prefix)
            if tables.trims:
                keeps = tables.trim_keeps_first and (at == first or begins == 0)
                begins, ends_at = _trim(signed(shapes[token]), keeps, begins, ends_at)
            if covered > begins:
                flag |= COVERED
            covered = ends_at
            pieces.ids[at] = token
            pieces.begins[at] = begins
            pieces.flags[at] = flag
            at += 1
            flag = 0
        position = behind
    return at, origin + character - prefix, covered


@inlined
@kernel
def _pre_token_end(
    pre_tokenizer: PreTokenizerTables,
    ends: np.ndarray,
    has_plain: bool,
    data: np.ndarray,
    position: int,
    end: int,
) -> int:
    """Where the pre-token that begins at `position` ends; sets `ends` of `Scratch`."""
    if has_plain:
        ends[0] = plain_word_end(data, position, end)
        if ends[0] > position:
            return signed(ends[0])
    limit = end
    for level in range(len(ends)):
        if ends[level] <= position:
            ends[level] = pre_token_end(pre_tokenizer, level, data, position, limit)
        limit = ends[level]
    return limit


@unmanaged
@kernel
def _is_whole(wholes: ByteTrie, data: np.ndarray, begin: int, end: int) -> bool:
    """Whether a pre-token is in the vocabulary."""
    behind, token = longest_match(wholes, data, begin, end)
    return token >= 0 and behind == end


@unmanaged
@kernel
def _merge(
    tables: ByteLevelTables, word: Word, data: np.ndarray, begin: int, end: int, is_part: bool
) -> tuple[int, bool]:
    """The symbols of a pre-token: their number, and whether all of its bytes are known."""
    word.starts[0] = 0
    if len(tables.wholes.labels) > 0 and not is_part:
        behind, token = longest_match(tables.wholes, data, begin, end)
        if token >= 0 and behind == end:
            word.symbols[0] = token
            word.starts[1] = end - begin
            return 1, True
    length = end - begin
    for index in range(length):
        token = signed(tables.byte_ids[data[begin + index]])
        if token < 0:
            return _merge_with_unknown(tables, word, data, begin, end), False
        word.symbols[index] = token
        word.starts[index] = index
    word.starts[length] = length
    before = signed(data[begin])
    for index in range(length - 1):
        here = signed(data[begin + index + 1])
        word.merges[index] = tables.byte_merges[before, here]
        before = here
    return merge_all(tables.merges, word, length), True


@unmanaged
@kernel
def _merge_with_unknown(
    tables: ByteLevelTables, word: Word, data: np.ndarray, begin: int, end: int
) -> int:
    """The symbols of a pre-token with bytes that have no symbol; their number."""
    count = 0
    after_unknown = False
    for index in range(end - begin):
        token = signed(tables.byte_ids[data[begin + index]])
        unknown = token < 0
        if not (unknown and after_unknown and tables.fuse_unknown):
            word.symbols[count] = tables.unknown if unknown else token
            word.starts[count] = index
            count += 1
        after_unknown = unknown
    word.starts[count] = end - begin
    find_merges(tables.merges, word, count)
    return merge_all(tables.merges, word, count)


@unmanaged
@kernel
def _trim(shape: int, keeps: bool, begin: int, end: int) -> tuple[int, int]:
    """The characters of a piece without its spaces, as `process_offsets` has them.

    Source: `tokenizers/src/pre_tokenizers/byte_level.rs`.

    Args:
        shape: of the token.
        keeps: its first space stays.
        begin: of the piece.
        end: of the piece.
    """
    lead = shape >> LEAD_SHIFT & _COUNT_MASK
    trail = shape >> TRAIL_SHIFT
    if lead > 0:
        begin = min(begin + lead - keeps, end)
    if trail > 0 and end >= trail:
        end = max(end - trail, begin)
    return begin, end


@kernel
def merge_characters(
    merges: Merges, byte_ids: np.ndarray, byte_merges: np.ndarray, word: Word
) -> np.ndarray:
    """`characters` of `ByteLevelTables`."""
    found = np.zeros((0x10000, 4), np.int32)
    for code_point in range(0x800, 0x10000):
        lead, second = 0xE0 | code_point >> 12, 0x80 | code_point >> 6 & 0x3F
        third = 0x80 | code_point & 0x3F
        for index, byte in enumerate((lead, second, third)):
            word.symbols[index] = byte_ids[byte]
            word.starts[index] = index
        word.starts[3] = 3
        word.merges[0], word.merges[1] = byte_merges[lead, second], byte_merges[second, third]
        count = merge_all(merges, word, 3)
        found[code_point, 0] = count
        for index in range(count):
            found[code_point, 1 + index] = word.symbols[index]
    return found
