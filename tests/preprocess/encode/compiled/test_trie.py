import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from preprocess.encode.compiled.trie import build_trie, find

words = st.text(st.characters(min_codepoint=1, max_codepoint=9), min_size=1, max_size=5)


def _find(trie: tuple[np.ndarray, np.ndarray], word: str) -> int:
    symbols = np.array([ord(c) for c in word], np.uint32)
    return find(*trie, symbols, 0, len(symbols))


@given(st.sets(words, min_size=1), st.sets(words))
def test_words_end_in_cells_of_their_own(present: set[str], others: set[str]) -> None:
    order = list(present)
    labels, bases, ends = build_trie(order)
    assert len(set(ends.tolist())) == len(order)
    for word, cell in zip(order, ends, strict=True):
        assert _find((labels, bases), word) == cell
    for word in others - present:
        cell = _find((labels, bases), word)
        assert cell < 0 or (cell not in ends and any(w.startswith(word) for w in present))


def test_unknown_symbols_match_nothing() -> None:
    labels, bases, _ = build_trie(["\x01\x02", "\x03"])
    for word in ("\x00", "\x01\x00", "\x02", "\x03\x01", "\x01\x02\x01"):
        assert _find((labels, bases), word) < 0


def test_large_alphabets_get_larger_labels() -> None:
    order = [chr(c) for c in range(1, 0x12000)]
    labels, bases, ends = build_trie([*order, "\x05\x06"])
    assert labels.dtype == np.uint32
    assert [_find((labels, bases), word) for word in order] == ends[:-1].tolist()
