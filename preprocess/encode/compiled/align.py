"""Which pieces begin words and sentences: one kernel, whatever made the pieces.

The rule of words is `preprocess.encode.reference`'s, in characters. A sentence's pieces are looked
at together, so that nothing but its end is looked for in its text.
"""

from typing import NamedTuple

import numpy as np

from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.normalizer import SENTENCE_SHIFT
from preprocess.encode.compiled.sentences import HARD, IS_INNER, NORMAL, SOFT, advance
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.encode.compiled.utf8 import decode
from preprocess.kernels import kernel

FIRST = 1
"""The first piece of its pre-token."""
COVERED = 2
"""The piece before covers the first character of this one, too."""

_NEVER = 1 << 62


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
    data, marks = text.data, text.marks
    for document in range(len(offsets) - 1):
        position, end = text.offsets[document], text.offsets[document + 1]
        mark = position - text.offsets[0]
        by_pre_token = text.by_pre_token[document]
        token, last = offsets[document], offsets[document + 1]
        sentence = 0  # the next one: its first character
        while token < last:
            first = token
            begin = signed(begins[token])
            while sentence <= begin and position < end:
                sentence, position = _next_sentence(properties, data, position, end, sentence)
            limit = sentence if position < end else _NEVER
            while token < last:
                begin = signed(begins[token])
                if begin >= limit:
                    break
                starts = flags[token] & FIRST != 0
                if not by_pre_token:
                    starts = (starts or not first_only) and (
                        flags[token] & COVERED == 0
                        and begin < sentence  # else it stands behind the text
                        and marks[mark + begin] != 0
                    )
                word_starts[token] = starts
                sentence_starts[token] = False
                token += 1
            word_starts[first] = True
            sentence_starts[first] = True


@unmanaged
@kernel
def _next_sentence(
    properties: np.ndarray, data: np.ndarray, position: int, end: int, character: int
) -> tuple[int, int]:
    """Where the sentence behind this one begins: its first character, and that one's position.

    Args:
        properties: of `segmentation.load_text_properties`.
        data: uint8, valid UTF-8.
        position: where this one begins.
        end: of the document; where no other sentence begins, this is the answer.
        character: the number of this one's first character.
    """
    state = NORMAL
    while position < end:
        if state == NORMAL:
            while position < end and IS_INNER[data[position]]:
                position += 1
                character += 1
            if position == end:
                break
        code_point, behind = decode(data, position)
        sentence_class = signed(properties[code_point]) >> SENTENCE_SHIFT & 7
        if state != NORMAL or sentence_class in (HARD, SOFT):
            state, boundary = advance(state, sentence_class)
            if boundary:
                break
        position = behind
        character += 1
    return character, position
