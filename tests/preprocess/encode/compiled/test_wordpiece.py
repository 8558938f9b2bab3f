import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from preprocess.encode.compiled.wordpiece import (
    Tokens,
    Word,
    emit_word,
    wordpiece_arrays,
    wordpiece_tables,
)

LIMIT = 12
VOCABULARY = {
    entry: number
    for number, entry in enumerate(
        [
            "[UNK]",
            "a",
            "b",
            "ab",
            "abc",
            "abab",
            "##a",
            "##b",
            "##ab",
            "##c",
            "##cab",
            "c",
            "#",
            "##",
        ]
    )
}


def _pieces(
    vocabulary: dict[str, int], word: str, breaks: list[int]
) -> tuple[list[int], list[bool], list[bool], bool]:
    arrays, symbols, _ = wordpiece_arrays(vocabulary, "[UNK]", LIMIT)
    tables = wordpiece_tables(arrays)
    scratch = np.zeros(LIMIT + 1, np.uint32)
    marks = np.zeros(LIMIT + 2, bool)
    for index, character in enumerate(word[: LIMIT + 1]):
        scratch[index] = symbols[ord(character)]
    marks[[b for b in breaks if b <= LIMIT]] = True
    ids, starts, sentences = np.zeros(64, np.uint16), np.zeros(64, bool), np.zeros(64, bool)
    end, left = emit_word(
        tables=tables,
        word=Word(scratch, marks),
        length=len(word),
        begins=True,
        sentence=False,
        broken=bool(breaks),
        tokens=Tokens(ids, starts, sentences),
        at=0,
    )
    assert not marks.any()
    return ids[:end].tolist(), starts[:end].tolist(), sentences[:end].tolist(), left


def _model(vocabulary: dict[str, int]) -> tokenizers.models.Model:
    return tokenizers.models.WordPiece(
        vocabulary, unk_token="[UNK]", max_input_chars_per_word=LIMIT
    )


@pytest.mark.parametrize("pieces", [True, False])
@given(word=st.text("abcdx#é", min_size=1, max_size=LIMIT + 2))
def test_pieces_are_those_of_the_library(pieces: bool, word: str) -> None:
    vocabulary = VOCABULARY if pieces else {e: i for e, i in VOCABULARY.items() if e[:2] != "##"}
    expected = [token.id for token in _model(vocabulary).tokenize(word)]
    ids, word_starts, sentence_starts, left = _pieces(vocabulary, word, [])
    if "##" not in word:  # the pre-tokenizer parts these, so that such a word never comes
        assert ids == expected
    assert word_starts == [True] + [False] * (len(ids) - 1)
    assert not any(sentence_starts)
    assert not left


@given(
    word=st.text("abcx", min_size=2, max_size=LIMIT + 2),
    breaks=st.sets(st.integers(1, LIMIT + 1), max_size=4),
)
def test_sentences_begin_at_the_next_token(word: str, breaks: set[int]) -> None:
    breaks = {place for place in breaks if place <= min(len(word), LIMIT)}
    tokens = _model(VOCABULARY).tokenize(word)
    begins = [token.offsets[0] for token in tokens]
    _, word_starts, sentence_starts, left = _pieces(VOCABULARY, word, sorted(breaks))
    expected = [
        i > 0 and any(begins[i - 1] < place <= begin for place in breaks)
        for i, begin in enumerate(begins)
    ]
    assert sentence_starts == expected
    assert word_starts == [True, *expected[1:]]
    assert left == any(place > begins[-1] for place in breaks)
