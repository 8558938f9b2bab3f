import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from preprocess.encode.compiled.sentences import NORMAL, advance, character_classes
from preprocess.encode.sentences import CLOSERS, HARD, SOFT, sentence_boundaries
from tests.preprocess.encode.compiled.texts import texts

CLASSES = character_classes()
MARKS = "".join(HARD | SOFT | CLOSERS) + " \t\u3000\xa0a中"


def _boundaries(text: str) -> list[int]:
    state = NORMAL
    boundaries = []
    for index, character in enumerate(text):
        state, boundary = advance(state, CLASSES[ord(character)])
        if boundary:
            boundaries.append(index)
    return boundaries


@given(st.one_of(st.text(st.sampled_from(MARKS)), texts))
def test_boundaries_are_those_of_the_python_rule(text: str) -> None:
    assert _boundaries(text) == sentence_boundaries(text)


def test_what_ends_a_sentence() -> None:
    text = "他说：“好！”走了。3.14 is pi. Yes!\nNo"
    cuts = [0, *_boundaries(text), len(text)]
    sentences = [text[a:b] for a, b in itertools.pairwise(cuts)]
    assert sentences == ["他说：“好！”", "走了。", "3.14 is pi. ", "Yes!\n", "No"]
    assert np.unique(CLASSES).tolist() == [0, 1, 2, 3, 4]
