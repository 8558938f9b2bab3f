"""Documents that a kernel leaves to the library, put in their places."""

import numpy as np
import pyarrow as pa

from preprocess.encode.aligned import TokenizedDocuments
from preprocess.encode.compiled.align import Pieces, Text
from preprocess.encode.library import LibraryTokenizer
from preprocess.read.buffers import documents_of, text_buffers


def complete(
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
