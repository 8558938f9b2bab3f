import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.encode.sentences import CLOSERS, HARD, SOFT, sentence_boundaries


def sentences(text: str) -> list[str]:
    cuts = [0, *sentence_boundaries(text), len(text)]
    return [text[begin:end] for begin, end in pairwise(cuts)]


@pytest.mark.parametrize(
    "whole",
    [
        ["你好。", "再见！", "真的？！", "是……", "完"],
        ["他说：「走吧。」", "然后走了。"],
        ["He left. ", "Pi is 3.14, e.g. ", "www.example.org is a site."],
        ["“Why?” ", "he asked.) ", "Nobody knew..."],
        ["a line\n", "another\n\n ", "third"],
        [".5 is a half"],
        ["no end"],
        ["¿Qué? ", "Sí! ", "“Yes.” ", "no"],
        ["end.\n", "begin"],
        ["wait.”, "],
    ],
)
def test_sentences(whole: list[str]) -> None:
    assert sentences("".join(whole)) == whole


def by_pattern(text: str) -> list[int]:
    """The rule as one regular expression: an end, all that extends it, and what comes next."""
    hard, soft, closers = ("".join(map(re.escape, sorted(s))) for s in (HARD, SOFT, CLOSERS))
    end = rf"(?:[{hard}]|[{soft}][{closers}{soft}]*[{hard}\s])[{hard}{soft}{closers}\s]*"
    return [match.end() for match in re.finditer(end, text) if match.end() < len(text)]


@given(st.text(st.sampled_from('a中.。!\n ”"\u3000)…“1'), max_size=40))
def test_boundaries_equal_those_of_a_regular_expression(text: str) -> None:
    assert sentence_boundaries(text) == by_pattern(text)


@given(st.text(max_size=60))
def test_boundaries_ascend_and_lie_inside(text: str) -> None:
    found = sentence_boundaries(text)
    assert found == sorted(set(found))
    assert all(0 < boundary < len(text) for boundary in found)
    assert not any(text[boundary].isspace() for boundary in found)
