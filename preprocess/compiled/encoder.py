"""The compiled encoder: Arrow's buffers in, flat arrays of tokens out, for BERT's tokenizers."""

import importlib.metadata
import json
import sys
import unicodedata
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from preprocess.compiled import jieba, whitespace
from preprocess.compiled.ascii_words import CACHE_SIZE, cache_slot, ends_word, read_word, spell
from preprocess.compiled.integers import signed
from preprocess.compiled.jieba import JiebaTables
from preprocess.compiled.jieba_tables import load_jieba
from preprocess.compiled.normalizer import (
    ALONE,
    CLASS_BITS,
    LETTER,
    MARK,
    PLAIN_BITS,
    SENTENCE_SHIFT,
    SEQUENCE,
    SPACE,
    UNSTABLE_BIT,
    VALUE_LIMIT,
    VALUE_SHIFT,
    CharacterTables,
)
from preprocess.compiled.sentences import NORMAL, advance
from preprocess.compiled.tables import Tables, cached_tables, content_key
from preprocess.compiled.unmanaged import unmanaged
from preprocess.compiled.utf8 import BYTES_OF_CHARACTER, decode, previous
from preprocess.compiled.wordpiece import WordPieceTables, emit_word, wordpiece_tables
from preprocess.encoders import EncodedDocuments, Encoder, EncoderSpec, id_dtype, make_encoder
from preprocess.kernels import kernel
from preprocess.segmenters import SegmenterSpec

_NONE, _JIEBA, _WHITESPACE = range(3)
_KINDS = {"none": _NONE, "jieba": _JIEBA, "whitespace": _WHITESPACE}
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
    word: np.ndarray
    """uint32 `[longest_word + 1]`, symbols of the word that is being read."""
    breaks: np.ndarray
    """bool `[longest_word + 2]`, whether a sentence begins at a character of it; false at first."""
    cached_words: np.ndarray
    """int64 `[CACHE_SIZE]`, keys of recent words of one token; 0 at first."""
    cached_ids: np.ndarray
    """int32 `[CACHE_SIZE]`, their ids."""


def unsupported_reason(tokenizer_json: str, segmenter: SegmenterSpec) -> str | None:
    """Why the compiled encoder cannot take a tokenizer and a segmenter; None if it can."""
    if segmenter.kind not in _KINDS:
        return f"its segmenter is {segmenter.function or segmenter.kind}, not jieba, whitespace or none"
    tokenizer = json.loads(tokenizer_json)
    model = tokenizer["model"]
    for part, expected in (
        ("normalizer", "BertNormalizer"),
        ("pre_tokenizer", "BertPreTokenizer"),
        ("model", "WordPiece"),
    ):
        found = (tokenizer[part] or {}).get("type", "none")
        if found != expected:
            return f"its {part.replace('_', '-')} is {found}, not {expected}"
    if model["continuing_subword_prefix"] != "##":
        return f"its pieces continue with {model['continuing_subword_prefix']!r}, not '##'"
    if model["unk_token"] not in model["vocab"]:
        return f"its unknown token {model['unk_token']} is not in its vocabulary"
    if not all(token["special"] for token in tokenizer["added_tokens"]):
        return "it has added tokens that are not special"
    if max(model["vocab"].values()) >= VALUE_LIMIT or model["max_input_chars_per_word"] < 1:
        return "its vocabulary is out of range"
    return None


class CompiledEncoder:
    """The numba encoder; equal to the reference encoder, token for token.

    Documents on which Unicode re-orders marks that BERT's normalizer keeps (see `normalizer`) are
    given to the reference encoder.
    """

    def __init__(self, tokenizer_json: str, segmenter: SegmenterSpec) -> None:
        self._spec = EncoderSpec(tokenizer_json, segmenter, "reference")
        self._reference: Encoder | None = None
        arrays = cached_tables(
            "tokenizer", _tokenizer_key(tokenizer_json), lambda: _build(tokenizer_json)
        )
        self._tables = EncoderTables(
            kind=_KINDS[segmenter.kind],
            jieba=load_jieba(segmenter) if segmenter.kind == "jieba" else _no_jieba(),
            characters=CharacterTables(arrays["entries"], arrays["sequences"]),
            wordpiece=wordpiece_tables(arrays),
        )
        self._dtype = id_dtype(int(arrays["vocab_size"][0]))
        self._tokens_per_byte = int(arrays["tokens_per_byte"][0])

    def encode(self, documents: pa.LargeStringArray) -> EncodedDocuments:
        """Encode each document whole, in order."""
        data, text_offsets = _buffers(documents)
        capacity = int(text_offsets[-1] - text_offsets[0]) * self._tokens_per_byte + 1
        # Pages that nothing is written to cost no memory.
        ids = np.empty(capacity, self._dtype)
        word_starts = np.empty(capacity, bool)
        sentence_starts = np.empty(capacity, bool)
        offsets = np.zeros(len(documents) + 1, dtype=np.int64)
        left_over = np.zeros(len(documents), dtype=bool)
        end = _encode_documents(
            self._tables,
            _scratch(self._tables, int(np.diff(text_offsets).max(initial=0))),
            data,
            text_offsets,
            ids,
            word_starts,
            sentence_starts,
            offsets,
            left_over,
        )
        encoded = EncodedDocuments(ids[:end], word_starts[:end], sentence_starts[:end], offsets, {})
        if left_over.any():
            return self._complete(documents, encoded, np.flatnonzero(left_over))
        return encoded

    def _complete(
        self, documents: pa.LargeStringArray, encoded: EncodedDocuments, left_over: np.ndarray
    ) -> EncodedDocuments:
        """Put in the documents that the kernel left over, of which `encoded` holds no token."""
        if self._reference is None:
            self._reference = make_encoder(self._spec)
        added = self._reference.encode(documents.take(pa.array(left_over)))
        lengths = np.diff(added.offsets)
        places = np.repeat(encoded.offsets[left_over], lengths)
        total = np.zeros(len(encoded.offsets), dtype=np.int64)
        total[left_over + 1] = lengths
        return EncodedDocuments(
            np.insert(encoded.ids, places, added.ids),
            np.insert(encoded.word_starts, places, added.word_starts),
            np.insert(encoded.sentence_starts, places, added.sentence_starts),
            encoded.offsets + np.cumsum(total),
            {"reordered_marks": len(left_over)},
        )


def _buffers(documents: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes (uint8) and offsets (int64 `[documents + 1]`) of an array, both read-only."""
    _, offsets, data = documents.buffers()
    count = len(documents) + 1
    if offsets is None or not len(documents):
        return _read_only(np.zeros(0, np.uint8)), _read_only(np.zeros(1, np.int64))
    text_offsets = np.frombuffer(offsets, np.int64, count, documents.offset * 8)
    text = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return _read_only(text), _read_only(text_offsets)


def _read_only(array: np.ndarray) -> np.ndarray:
    """A view with one type for numba, whatever made the array."""
    view = array.view()
    view.flags.writeable = False
    return view


def _tokenizer_key(tokenizer_json: str) -> str:
    return content_key(
        importlib.metadata.version("tokenizers").encode(),
        unicodedata.unidata_version.encode(),
        sys.byteorder.encode(),
        tokenizer_json.encode(),
    )


def _build(tokenizer_json: str) -> Tables:
    """Ask the tokenizer's own library; takes seconds, done once a tokenizer."""
    from preprocess.compiled.normalizer import character_tables, normalize_characters
    from preprocess.compiled.wordpiece import wordpiece_arrays
    from preprocess.tokenizer import load_backend

    tokenizer: dict[str, Any] = json.loads(tokenizer_json)
    model = tokenizer["model"]
    arrays, symbols, ids = wordpiece_arrays(
        model["vocab"], model["unk_token"], model["max_input_chars_per_word"]
    )
    characters = normalize_characters(load_backend(tokenizer_json))
    tables = character_tables(characters, symbols, ids)
    highest = max([*model["vocab"].values(), *(t["id"] for t in tokenizer["added_tokens"])])
    # The longest answer for what it takes in UTF-8: how many tokens a byte can make.
    per_byte = np.ceil(characters.texts.lengths / BYTES_OF_CHARACTER)
    return arrays | {
        "entries": tables.entries,
        "sequences": tables.sequences,
        "vocab_size": np.array([highest + 1]),
        "tokens_per_byte": np.array([int(per_byte.max())]),
    }


def _scratch(tables: EncoderTables, longest_document: int) -> Scratch:
    """Scratch for documents of a length in bytes; what is not used of it takes no memory."""
    size = longest_document + 1 if tables.kind != _NONE else 1
    longest_word = tables.wordpiece.longest_word
    return Scratch(
        scores=np.empty(jieba.score_window(tables.jieba.longest_word)),
        symbols=np.empty(size, np.uint16),
        marks=np.empty(size, np.uint8),
        word=np.empty(longest_word + 1, np.uint32),
        breaks=np.zeros(longest_word + 2, np.bool_),
        cached_words=np.zeros(CACHE_SIZE, np.int64),
        cached_ids=np.zeros(CACHE_SIZE, np.int32),
    )


def _no_jieba() -> JiebaTables:
    """Empty tables for segmenters that read none."""

    def empty(dtype: type, dimensions: int = 1) -> np.ndarray:
        return _read_only(np.zeros((0,) * dimensions, dtype))

    return JiebaTables(
        symbols=empty(np.uint16),
        labels=empty(np.uint16),
        bases=empty(np.int32),
        weights=empty(np.float64),
        forced=empty(np.bool_),
        emissions=empty(np.float64, 2),
        transitions=empty(np.float64, 2),
        unknown_weight=0.0,
        longest_word=1,
        hmm=False,
    )


@unmanaged
@kernel
def _encode_documents(
    tables: EncoderTables,
    scratch: Scratch,
    data: np.ndarray,
    text_offsets: np.ndarray,
    ids: np.ndarray,
    word_starts: np.ndarray,
    sentence_starts: np.ndarray,
    offsets: np.ndarray,
    left_over: np.ndarray,
) -> int:
    """Encode documents one after the other.

    Args:
        tables: everything about tokenizer and segmenter.
        scratch: for documents of this length.
        data: uint8, valid UTF-8.
        text_offsets: int64 `[documents + 1]`, into `data`.
        ids: uint16 or uint32, written to; like the next two, with room for every normalized
            character.
        word_starts: bool, written to.
        sentence_starts: bool, written to.
        offsets: int64 `[documents + 1]`, set; 0 at first.
        left_over: bool `[documents]`, set where the reference encoder must do it; those get no
            tokens.

    Returns:
        the number of tokens.
    """
    entries, sequences = tables.characters.entries, tables.characters.sequences
    wordpiece = tables.wordpiece
    cells, continuation, unknown = wordpiece.cells, wordpiece.continuation, wordpiece.unknown
    at = 0
    for document in range(len(left_over)):
        end = _encode_document(
            tables.kind,
            tables.jieba,
            entries,
            sequences,
            cells,
            continuation,
            unknown,
            data,
            text_offsets[document],
            text_offsets[document + 1],
            scratch.scores,
            scratch.symbols,
            scratch.marks,
            scratch.word,
            scratch.breaks,
            scratch.cached_words,
            scratch.cached_ids,
            ids,
            word_starts,
            sentence_starts,
            at,
        )
        if end < 0:
            left_over[document] = True
            scratch.breaks[:] = False
        else:
            at = end
        offsets[document + 1] = at
    return at


@unmanaged
@kernel
def _encode_document(
    segmenter: int,
    jieba_tables: JiebaTables,
    entries: np.ndarray,
    sequences: np.ndarray,
    cells: np.ndarray,
    continuation: int,
    unknown: int,
    data: np.ndarray,
    begin: int,
    end: int,
    scores: np.ndarray,
    symbols: np.ndarray,
    marks: np.ndarray,
    word: np.ndarray,
    breaks: np.ndarray,
    cached_words: np.ndarray,
    cached_ids: np.ndarray,
    ids: np.ndarray,
    word_starts: np.ndarray,
    sentence_starts: np.ndarray,
    at: int,
) -> int:
    """Encode `data[begin:end]`, a document, in one pass over its bytes.

    The arguments are those of `_encode_documents` and what its tuples hold.

    Returns:
        the end of what was written, or -1 if re-ordered marks need the reference encoder.
    """
    longest = len(word) - 1
    segmented = segmenter != _NONE
    chunk_end = begin if segmented else end
    character = 0  # index into marks
    state = NORMAL
    pending = True  # a sentence begins at the next token
    length = 0  # of the word that is being read
    begins = False  # its first character begins a word of the segmenter
    sentence = False  # its first token starts a sentence
    broken = False  # a sentence begins within it
    position = begin
    while position < end:
        if position >= chunk_end:
            chunk_end = _chunk_end(segmenter, jieba_tables, entries, data, position, end)
            if segmenter == _JIEBA:
                jieba.mark_words(jieba_tables, data, position, chunk_end, scores, symbols, marks)
            else:
                whitespace.mark_words(entries, data, begin, position, chunk_end, end, marks)
            character = 0
        here = position
        code_point, position = decode(data, position)
        entry = signed(entries[code_point])
        mark = True
        if segmented:
            flags = marks[character]
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
            begins = mark
            sentence = pending
            pending = False
            slot = cache_slot(key)
            if key == 0 or not ends_word(entries, data, position, end):
                length = spell(entries, data, here, position, word)
            elif cached_words[slot] == key:
                ids[at] = cached_ids[slot]
                word_starts[at] = begins or sentence
                sentence_starts[at] = sentence
                at += 1
            else:
                first = at
                length = spell(entries, data, here, position, word)
                at, _ = emit_word(
                    cells,
                    continuation,
                    unknown,
                    word,
                    breaks,
                    length,
                    begins,
                    sentence,
                    broken,
                    ids,
                    word_starts,
                    sentence_starts,
                    at,
                )
                length = 0
                if at == first + 1:
                    cached_words[slot] = key
                    cached_ids[slot] = ids[first]
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
                    begins = mark
                    sentence = pending
                    pending = False
                elif pending and length <= longest:
                    breaks[length] = True
                    broken = True
                    pending = False
                word[min(length, longest)] = value
                length += 1
            elif kind in (ALONE, SPACE):
                if length > 0:
                    at, left = emit_word(
                        cells,
                        continuation,
                        unknown,
                        word,
                        breaks,
                        length,
                        begins,
                        sentence,
                        broken,
                        ids,
                        word_starts,
                        sentence_starts,
                        at,
                    )
                    pending |= left
                    length = 0
                    broken = False
                if kind == ALONE:
                    ids[at] = value
                    word_starts[at] = mark or pending
                    sentence_starts[at] = pending
                    at += 1
                    pending = False
            if remaining == 0:
                break
            # Only the first token that covers a character can begin a word of the segmenter.
            mark = mark and (not segmented or kind == SPACE)
            remaining -= 1
            item += 1
            entry = signed(sequences[item])
    if length > 0:
        at, _ = emit_word(
            cells,
            continuation,
            unknown,
            word,
            breaks,
            length,
            begins,
            sentence,
            broken,
            ids,
            word_starts,
            sentence_starts,
            at,
        )
    return at


@unmanaged
@kernel
def _chunk_end(
    segmenter: int,
    jieba_tables: JiebaTables,
    entries: np.ndarray,
    data: np.ndarray,
    position: int,
    end: int,
) -> int:
    """Where to cut the chunk that begins at `position`."""
    if end - position <= _CHUNK:
        return end
    if segmenter == _JIEBA:
        return jieba.chunk_end(jieba_tables.symbols, data, position + _CHUNK, end)
    return whitespace.chunk_end(entries, data, position + _CHUNK, end)


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
