"""The tokenizer's own library, given many documents at a time."""

import os
from collections.abc import Iterator
from itertools import chain

import numpy as np

# A worker is one thread: parallelism is processes.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from preprocess.encode.aligned import TokenizedDocuments
from preprocess.encode.compiled.align import COVERED, FIRST, Pieces, Text
from preprocess.encode.tokenizer import load_backend, vocab_size
from preprocess.format import id_dtype
from preprocess.read.buffers import documents_of

_BATCH_BYTES = 1 << 20
"""Text that the library gets at a time: its answer takes some hundred bytes a token."""


class LibraryTokenizer:
    """Any fast tokenizer."""

    def __init__(self, tokenizer_json: str) -> None:
        self._backend = load_backend(tokenizer_json)
        self._dtype = id_dtype(vocab_size(tokenizer_json))

    def tokenize(self, text: Text) -> TokenizedDocuments:
        """Tokenize each document whole, in order."""
        documents = documents_of(text.data, text.offsets)
        lengths = [np.zeros(1, np.int64)]
        parts: list[Pieces] = []
        for begin, end in _batches(text.offsets):
            pieces, counted = self._tokenize(documents.slice(begin, end - begin).to_pylist())
            parts.append(pieces)
            lengths.append(counted)
        empty = Pieces(np.zeros(0, self._dtype), np.zeros(0, np.int32), np.zeros(0, np.uint8))
        joined = Pieces(*(np.concatenate(arrays) for arrays in zip(empty, *parts, strict=True)))
        return TokenizedDocuments(joined, np.cumsum(np.concatenate(lengths)), {})

    def _tokenize(self, documents: list[str]) -> tuple[Pieces, np.ndarray]:
        """The pieces of some documents, and the number of each document's, int64."""
        encodings = self._backend.encode_batch(documents, add_special_tokens=False)
        lengths = np.array([len(encoding) for encoding in encodings], np.int64)
        total = int(lengths.sum())

        def joined(attribute: str, count: int) -> np.ndarray:
            values = chain.from_iterable(getattr(encoding, attribute) for encoding in encodings)
            if count > total:
                values = chain.from_iterable(values)
            return np.fromiter(values, np.int32, count)

        begins, ends = joined("offsets", 2 * total).reshape(total, 2).T
        pre_tokens = joined("word_ids", total)
        flags = np.zeros(total, np.uint8)
        flags[1:] |= (pre_tokens[1:] != pre_tokens[:-1]) * np.uint8(FIRST)
        flags[1:] |= (ends[:-1] > begins[1:]) * np.uint8(COVERED)
        firsts = np.cumsum(lengths) - lengths
        flags[firsts[lengths > 0]] = FIRST
        ids = joined("ids", total).astype(self._dtype)
        return Pieces(ids, np.ascontiguousarray(begins), flags), lengths


def _batches(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Begin and end of runs of documents of about `_BATCH_BYTES`, at least one document each."""
    begin = 0
    while begin < len(offsets) - 1:
        end = int(np.searchsorted(offsets, offsets[begin] + _BATCH_BYTES, "right")) - 1
        end = max(end, begin + 1)
        yield begin, end
        begin = end
