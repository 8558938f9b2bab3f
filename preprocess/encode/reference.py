"""The reference encoder: jieba and the tokenizer's own library, aligned in plain Python.

The rule of words, in characters: a token starts a word when the first character that it covers
begins a word of the segmenter, and the token before does not cover that character; for tokenizers
with `##` it must also be the first piece of its pre-token. (A space that a tokenizer trims away
covers nothing and stands before the next character: it is a word of its own, as jieba has it.)
"""

from collections import Counter

import numpy as np
import pyarrow as pa

from preprocess.encode.protocol import EncodedDocuments
from preprocess.encode.segmenters import SegmenterSpec, make_segmenter
from preprocess.encode.sentences import sentence_boundaries
from preprocess.encode.tokenizer import (
    has_word_pieces,
    load_backend,
    special_literals,
    vocab_size,
)
from preprocess.format import id_dtype


class ReferenceEncoder:
    """Any fast tokenizer, aligned in plain Python: the oracle of the compiled encoder."""

    def __init__(self, tokenizer_json: str, segmenter: SegmenterSpec) -> None:
        self._backend = load_backend(tokenizer_json)
        self._segment = make_segmenter(segmenter)
        self._has_pieces = has_word_pieces(tokenizer_json)
        self._dtype = id_dtype(vocab_size(tokenizer_json))
        self._literals = special_literals(tokenizer_json)

    def encode(self, documents: pa.LargeStringArray) -> EncodedDocuments:
        """Encode each document whole, in order."""
        counts: Counter[str] = Counter()
        ids: list[int] = []
        word_starts: list[bool] = []
        sentence_starts: list[bool] = []
        offsets = [0]
        for document in documents.to_pylist():
            encoded = self._encode_document(document, counts)
            ids.extend(encoded[0])
            word_starts.extend(encoded[1])
            sentence_starts.extend(encoded[2])
            offsets.append(len(ids))
        return EncodedDocuments(
            ids=np.array(ids, dtype=self._dtype),
            word_starts=np.array(word_starts, dtype=bool),
            sentence_starts=np.array(sentence_starts, dtype=bool),
            offsets=np.array(offsets, dtype=np.int64),
            counts=dict(counts),
        )

    def _encode_document(
        self, document: str, counts: Counter[str]
    ) -> tuple[list[int], list[bool], list[bool]]:
        segmentation = self._segment(document)
        counts.update(segmentation.counts)
        text = segmentation.text
        for literal in self._literals:
            if found := text.count(literal):
                counts["special_token_literals"] += found
        # (`encode` would hold the interpreter lock throughout, and so delay Ctrl-C.)
        (tokens,) = self._backend.encode_batch([text], add_special_tokens=False)
        spans = tokens.offsets
        first_pieces = _first_pieces(tokens.word_ids)
        if segmentation.starts is None:
            word_starts = first_pieces
        else:
            begins = _begins_word(spans, segmentation.starts)
            may_start = first_pieces if self._has_pieces else [True] * len(spans)
            word_starts = [b and m for b, m in zip(begins, may_start, strict=True)]
        sentence_starts = _sentence_starts(text, spans)
        word_starts = [w or s for w, s in zip(word_starts, sentence_starts, strict=True)]
        return tokens.ids, word_starts, sentence_starts


def _first_pieces(words: list[int | None]) -> list[bool]:
    return [i == 0 or words[i] != words[i - 1] for i in range(len(words))]


def _begins_word(spans: list[tuple[int, int]], starts: frozenset[int]) -> list[bool]:
    result = []
    covered = 0  # end of the token before
    for begin, end in spans:
        result.append(begin in starts and covered <= begin)
        covered = end
    return result


def _sentence_starts(text: str, spans: list[tuple[int, int]]) -> list[bool]:
    boundaries = sentence_boundaries(text)
    starts = [index == 0 for index in range(len(spans))]
    passed = 0
    for index, (begin, _) in enumerate(spans):
        while passed < len(boundaries) and boundaries[passed] <= begin:
            starts[index] = True
            passed += 1
    return starts
