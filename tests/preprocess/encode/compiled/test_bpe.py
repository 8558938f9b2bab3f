import itertools

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from preprocess.encode.compiled import bpe

LETTERS = "abcd"
letter_pairs = st.tuples(st.integers(0, 10**6), st.integers(0, 10**6))


def _grow(pairs: list[tuple[int, int]]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary of letters and of merges of what was there before."""
    vocabulary = {letter: number for number, letter in enumerate(LETTERS)}
    merges: list[tuple[str, str]] = []
    for left, right in pairs:
        tokens = list(vocabulary)
        merge = tokens[left % len(tokens)], tokens[right % len(tokens)]
        if merge not in merges and len("".join(merge)) < 40:
            merges.append(merge)
            vocabulary.setdefault("".join(merge), len(vocabulary))
    return vocabulary, merges


def _table(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> bpe.Merges:
    pairs = np.array([[vocabulary[a], vocabulary[b]] for a, b in merges], np.int64).reshape(-1, 2)
    cells = bpe.merge_table(pairs, np.array([vocabulary[a + b] for a, b in merges], np.int64))
    return bpe.merges_of(cells)


def _tokens(table: bpe.Merges, text: str) -> list[tuple[int, tuple[int, int]]]:
    word = bpe.make_word(len(text))
    word.symbols[:] = [LETTERS.index(letter) for letter in text]
    word.starts[:] = np.arange(len(text) + 1)
    bpe.find_merges(table, word, len(text))
    count = bpe.merge_all(table, word, len(text))
    starts = word.starts[: count + 1].tolist()
    return list(zip(word.symbols[:count].tolist(), itertools.pairwise(starts), strict=True))


@given(
    pairs=st.lists(letter_pairs, max_size=30),
    text=st.text(LETTERS, min_size=1, max_size=20),
    times=st.sampled_from([1, 1, 2, 8, 40]),
)
def test_merges_are_those_of_the_library(
    pairs: list[tuple[int, int]], text: str, times: int
) -> None:
    vocabulary, merges = _grow(pairs)
    model = tokenizers.models.BPE(vocabulary, merges)
    expected = [(token.id, token.offsets) for token in model.tokenize(text * times)]
    assert _tokens(_table(vocabulary, merges), text * times) == expected


def test_of_equal_pairs_the_last_rank_counts() -> None:
    vocabulary = {"a": 0, "b": 1, "c": 2, "d": 3, "ab": 4, "bc": 5}
    merges = [("a", "b"), ("b", "c"), ("a", "b")]
    model = tokenizers.models.BPE(vocabulary, merges)
    expected = [token.id for token in model.tokenize("abcab")]
    found = _tokens(_table(vocabulary, merges), "abcab")
    assert [token for token, _ in found] == expected == [0, 5, 4]


@pytest.mark.parametrize("letters", ["a", "ab"])
def test_long_words_take_no_square_of_their_length(letters: str) -> None:
    """A million symbols would otherwise take minutes."""
    vocabulary, merges = _grow([(0, 0), (4, 4), (5, 5), (0, 1), (8, 8)])
    text = letters * (1_000_000 // len(letters))
    found = _tokens(_table(vocabulary, merges), text)
    assert found[-1][1][1] == len(text)
    assert len(found) <= len(text) / 2
