"""The compiled encoder: Arrow's buffers in, flat arrays of tokens out, for BERT's tokenizers."""

from typing import Any

import numpy as np
import pyarrow as pa

from preprocess.encode.compiled.ascii_words import CACHE_SIZE, WordCache
from preprocess.encode.compiled.document import (
    JIEBA,
    NONE,
    WHITESPACE,
    EncoderTables,
    Scratch,
    encode_documents,
)
from preprocess.encode.compiled.jieba import JiebaTables, score_window
from preprocess.encode.compiled.jieba_tables import load_jieba
from preprocess.encode.compiled.normalizer import (
    VALUE_LIMIT,
    CharacterTables,
)
from preprocess.encode.compiled.tables import Tables, cached_tables, tokenizer_key
from preprocess.encode.compiled.utf8 import BYTES_OF_CHARACTER
from preprocess.encode.compiled.wordpiece import Tokens, Word, wordpiece_tables
from preprocess.encode.protocol import EncodedDocuments
from preprocess.encode.reference import ReferenceEncoder
from preprocess.encode.segmenters import SegmenterSpec
from preprocess.encode.tokenizer import describe_tokenizer, load_backend
from preprocess.format import id_dtype
from preprocess.read.buffers import read_only, text_buffers

_KINDS = {"none": NONE, "jieba": JIEBA, "whitespace": WHITESPACE}


def unsupported_reason(tokenizer_json: str, segmenter: SegmenterSpec) -> str | None:
    """Why the compiled encoder cannot take a tokenizer and a segmenter; None if it can."""
    if segmenter.kind not in _KINDS:
        name = segmenter.function or segmenter.kind
        return f"its segmenter is {name}, not jieba, whitespace or none"
    tokenizer = describe_tokenizer(tokenizer_json)
    model = tokenizer["model"]
    for part, expected in (
        ("model", "WordPiece"),
        ("normalizer", "BertNormalizer"),
        ("pre_tokenizer", "BertPreTokenizer"),
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
        self._tokenizer_json, self._segmenter = tokenizer_json, segmenter
        self._reference: ReferenceEncoder | None = None
        arrays = cached_tables(
            "tokenizer", tokenizer_key(tokenizer_json), lambda: _build(tokenizer_json)
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
        data, text_offsets = text_buffers(documents)
        capacity = int(text_offsets[-1] - text_offsets[0]) * self._tokens_per_byte + 1
        # Pages that nothing is written to cost no memory.
        tokens = Tokens(
            np.empty(capacity, self._dtype), np.empty(capacity, bool), np.empty(capacity, bool)
        )
        offsets = np.zeros(len(documents) + 1, dtype=np.int64)
        left_over = np.zeros(len(documents), dtype=bool)
        scratch = _scratch(self._tables, int(np.diff(text_offsets).max(initial=0)))
        end = encode_documents(
            self._tables, scratch, data, text_offsets, tokens, offsets, left_over
        )
        ids, word_starts, sentence_starts = (array[:end] for array in tokens)
        encoded = EncodedDocuments(ids, word_starts, sentence_starts, offsets)
        if left_over.any():
            return self._complete(documents, encoded, np.flatnonzero(left_over))
        return encoded

    def _complete(
        self, documents: pa.LargeStringArray, encoded: EncodedDocuments, left_over: np.ndarray
    ) -> EncodedDocuments:
        """Put in the documents that the kernel left over, of which `encoded` holds no token."""
        if self._reference is None:
            self._reference = ReferenceEncoder(self._tokenizer_json, self._segmenter)
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
            added.counts,
        )


def _build(tokenizer_json: str) -> Tables:
    """Ask the tokenizer's own library; takes seconds, done once a tokenizer."""
    from preprocess.encode.compiled.normalizer import character_tables, normalize_characters
    from preprocess.encode.compiled.wordpiece import wordpiece_arrays

    tokenizer: dict[str, Any] = describe_tokenizer(tokenizer_json)
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
    size = longest_document + 1 if tables.kind != NONE else 1
    longest_word = tables.wordpiece.longest_word
    return Scratch(
        scores=np.empty(score_window(tables.jieba.longest_word)),
        symbols=np.empty(size, np.uint16),
        marks=np.empty(size, np.uint8),
        word=Word(np.empty(longest_word + 1, np.uint32), np.zeros(longest_word + 2, np.bool_)),
        cache=WordCache(np.zeros(CACHE_SIZE, np.int64), np.zeros(CACHE_SIZE, np.int32)),
    )


def _no_jieba() -> JiebaTables:
    """Empty tables for segmenters that read none."""

    def empty(dtype: type, dimensions: int = 1) -> np.ndarray:
        return read_only(np.zeros((0,) * dimensions, dtype))

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
