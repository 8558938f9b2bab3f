"""Which pieces begin words and sentences: one kernel, whatever made the pieces.

The rule of words is `preprocess.encode.reference`'s, in characters.
"""

from typing import NamedTuple

import numpy as np

from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.normalizer import SENTENCE_SHIFT
from preprocess.encode.compiled.sentences import NORMAL, advance
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.encode.compiled.utf8 import decode
from preprocess.kernels import kernel

FIRST = 1
"""The first piece of its pre-token."""
COVERED = 2
"""The piece before covers the first character of this one, too."""


class Text(NamedTuple):
    """Documents as they are tokenized."""

    data: np.ndarray
    """uint8, valid UTF-8, read-only."""
    offsets: np.ndarray
    """int64 `[documents + 1]`, into `data`."""
    marks: np.ndarray
    """uint8, 1 where a word of the segmenter begins: those of a document's characters, in order,
    from its first byte's place (less `offsets[0]`) on."""
    by_pre_token: np.ndarray
    """bool `[documents]`, pre-tokens are the words; such a document has no marks."""


class Pieces(NamedTuple):
    """What a tokenizer makes of documents."""

    ids: np.ndarray
    """uint16 or uint32 `[tokens]`."""
    begins: np.ndarray
    """int32 `[tokens]`, the first character that a piece covers, counted within its document."""
    flags: np.ndarray
    """uint8 `[tokens]`, a sum of FIRST and COVERED."""


@unmanaged
@kernel
def align_documents(
    properties: np.ndarray,
    text: Text,
    begins: np.ndarray,
    flags: np.ndarray,
    offsets: np.ndarray,
    first_only: bool,
    word_starts: np.ndarray,
    sentence_starts: np.ndarray,
) -> None:
    """Set the starts of words and sentences.

    Args:
        properties: of `segmentation.load_text_properties`.
        text: the documents.
        begins: of `Pieces`.
        flags: of `Pieces`.
        offsets: int64 `[documents + 1]`, the pieces of each document.
        first_only: only the first piece of a pre-token may begin a word of the segmenter.
        word_starts: bool `[tokens]`, set.
        sentence_starts: bool `[tokens]`, set.
    """
    for document in range(len(offsets) - 1):
        position, end = text.offsets[document], text.offsets[document + 1]
        mark = position - text.offsets[0]
        by_pre_token = text.by_pre_token[document]
        state = NORMAL
        character = 0  # the next to be looked at
        pending = True  # a sentence begins at the next token
        for token in range(offsets[document], offsets[document + 1]):
            begin = signed(begins[token])
            while character <= begin and position < end:
                code_point, position = decode(text.data, position)
                character += 1
                sentence_class = signed(properties[code_point]) >> SENTENCE_SHIFT & 7
                if state | sentence_class:
                    state, boundary = advance(state, sentence_class)
                    pending |= boundary
            starts = flags[token] & FIRST != 0
            if not by_pre_token:
                starts = (starts or not first_only) and (
                    flags[token] & COVERED == 0
                    and begin < character  # else it stands behind the text
                    and text.marks[mark + begin] != 0
                )
            word_starts[token] = starts or pending
            sentence_starts[token] = pending
            pending = False
