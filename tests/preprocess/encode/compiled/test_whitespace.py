import functools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from preprocess.encode.compiled.encoder import CompiledEncoder
from preprocess.encode.compiled.whitespace import BEGINS, REMOVED, chunk_end, mark_words
from preprocess.encode.segmenters import SegmenterSpec
from tests.preprocess.encode.compiled import oracle
from tests.preprocess.encode.compiled.texts import texts

spaced = st.text(st.sampled_from("中国豈\U00020000ab，1  \t\n\u3000"), max_size=40)


@functools.cache
def _entries() -> np.ndarray:
    encoder = CompiledEncoder(oracle.bert_json(), SegmenterSpec("whitespace"))
    return encoder._tables.characters.entries


def _marks(text: str, chunk: int) -> list[int]:
    data = np.frombuffer(text.encode(), np.uint8)
    marks: list[int] = []
    begin = 0
    while begin < len(data):
        end = chunk_end(_entries(), data, min(begin + chunk, len(data)), len(data))
        scratch = np.full(len(data), 9, np.uint8)
        length = mark_words(_entries(), data, 0, begin, end, len(data), scratch)
        marks += scratch[:length].tolist()
        begin = end
    return marks


@given(st.one_of(spaced, texts), st.integers(1, 60))
def test_marks_are_those_of_the_rule_whatever_the_chunks(text: str, chunk: int) -> None:
    marks = _marks(text, chunk)
    kept = [i for i, mark in enumerate(marks) if mark != REMOVED]
    begins = {number for number, i in enumerate(kept) if marks[i] == BEGINS}
    assert len(marks) == len(text)
    assert ("".join(text[i] for i in kept), begins) == oracle.whitespace_words(text)


def test_spaces_between_han_are_no_text() -> None:
    assert _marks("中  国 a 人\u3000民 ", 99) == [1, 2, 2, 1, 0, 1, 0, 1, 0, 1, 0]
