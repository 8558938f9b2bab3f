"""A kernel's run over documents; those that it leaves to the library are put in their places."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from preprocess.encode.aligned import TokenizedDocuments
from preprocess.encode.compiled.align import Pieces, Text
from preprocess.encode.library import LibraryTokenizer
from preprocess.read.buffers import documents_of, text_buffers


def run_kernel(
    tokenize: Callable[[Text, Pieces, np.ndarray, np.ndarray], int],
    text: Text,
    capacity: int,
    dtype: np.dtype,
    library: Callable[[], LibraryTokenizer],
) -> TokenizedDocuments:
    """Tokenize each document whole, in order.

    Args:
        tokenize: a kernel with its tables and scratch; it sets `offsets` and `left_over`, and
            returns the number of pieces.
        text: the documents.
        capacity: pieces at most.
        dtype: of ids.
        library: makes the library's tokenizer, if any document is left to it.
    """
    # Pages that nothing is written to cost no memory.
    pieces = Pieces(
        np.empty(capacity, dtype), np.empty(capacity, np.int32), np.empty(capacity, np.uint8)
    )
    count = len(text.offsets) - 1
    offsets, left_over = np.zeros(count + 1, np.int64), np.zeros(count, bool)
    end = tokenize(text, pieces, offsets, left_over)
    found = Pieces(*(array[:end] for array in pieces))
    if not left_over.any():
        return TokenizedDocuments(found, offsets, {})
    return _complete(library(), text, found, offsets, np.flatnonzero(left_over))


def _complete(
    library: LibraryTokenizer, text: Text, found: Pieces, offsets: np.ndarray, which: np.ndarray
) -> TokenizedDocuments:
    """Tokenize the rest.

    Args:
        library: of the same tokenizer.
        text: all documents.
        found: the pieces of the others.
        offsets: int64 `[documents + 1]`, of `found`, which holds no piece of the rest.
        which: int64, the numbers of the documents that are left.
    """
    documents = documents_of(text.data, text.offsets).take(pa.array(which))
    added = library.tokenize(Text(*text_buffers(documents), text.marks, text.by_pre_token))
    lengths = np.diff(added.offsets)
    places = np.repeat(offsets[which], lengths)
    total = np.zeros(len(offsets), np.int64)
    total[which + 1] = lengths
    pieces = (
        np.insert(ours, places, theirs) for ours, theirs in zip(found, added.pieces, strict=True)
    )
    return TokenizedDocuments(Pieces(*pieces), offsets + np.cumsum(total), {})
