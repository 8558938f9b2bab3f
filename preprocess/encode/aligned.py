"""The encoder of three steps, a batch at a time: segment, tokenize, align."""

import re
from collections import Counter
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from preprocess.encode.compiled.align import Pieces, Text, align_documents
from preprocess.encode.compiled.segmentation import load_text_properties, make_document_segmenter
from preprocess.encode.protocol import EncodedDocuments
from preprocess.encode.segmenters import SegmenterSpec
from preprocess.encode.tokenizer import has_word_pieces, special_literals
from preprocess.read.buffers import documents_of


class TokenizedDocuments(NamedTuple):
    """The pieces of a batch of documents."""

    pieces: Pieces
    offsets: np.ndarray
    """int64 `[documents + 1]`, the pieces of each document."""
    counts: dict[str, int]
    """What is worth knowing, by reason."""


class DocumentTokenizer(Protocol):
    """Text in, pieces out; it knows nothing of words."""

    def tokenize(self, text: Text) -> TokenizedDocuments:
        """Tokenize each document whole, in order."""
        ...


class AlignedEncoder:
    """Any tokenizer that tells which characters its pieces cover, with any segmenter."""

    def __init__(
        self, tokenizer_json: str, segmenter: SegmenterSpec, tokenizer: DocumentTokenizer
    ) -> None:
        self._segment = make_document_segmenter(segmenter)
        self._tokenizer = tokenizer
        self._first_only = has_word_pieces(tokenizer_json)
        self._literals = special_literals(tokenizer_json)
        # They begin alike, so that one search for all is faster than one for one of them.
        self._any_literal = re.compile(b"|".join(re.escape(x.encode()) for x in self._literals))
        self._properties = load_text_properties()

    def encode(self, documents: pa.LargeStringArray) -> EncodedDocuments:
        """Encode each document whole, in order."""
        text, segmenter_counts = self._segment(documents)
        pieces, offsets, counts = self._tokenizer.tokenize(text)
        word_starts, sentence_starts = (np.empty(len(pieces.ids), bool) for _ in range(2))
        align_documents(
            self._properties,
            text,
            pieces.begins,
            pieces.flags,
            offsets,
            self._first_only,
            word_starts,
            sentence_starts,
        )
        all_counts = Counter(segmenter_counts) + Counter(counts) + self._count_literals(text)
        return EncodedDocuments(pieces.ids, word_starts, sentence_starts, offsets, dict(all_counts))

    def _count_literals(self, text: Text) -> Counter[str]:
        content = text.data[text.offsets[0] : text.offsets[-1]]
        if not self._literals or not self._any_literal.search(content.data):
            return Counter()
        documents = documents_of(text.data, text.offsets)
        found = sum(
            pc.sum(pc.count_substring(documents, literal)).as_py() or 0
            for literal in self._literals
        )
        return +Counter({"special_token_literals": found})
