import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jieba import finalseg

from preprocess.encode.compiled.jieba import chunk_end, mark_words, score_window
from preprocess.encode.compiled.jieba_tables import load_jieba
from preprocess.encode.segmenters import SegmenterSpec
from preprocess.errors import WholewordError
from tests.preprocess.encode.compiled import oracle
from tests.preprocess.encode.compiled.texts import HAN, jieba_texts

USER_WORDS = """\
云计算 5
三国演义 3 n
的人 0
我们 0
是在 0
abc+ 10
C++ 3 nz
不是 0
国之
1.5 100
龙龘靐
"""


def _words(spec: SegmenterSpec, text: str) -> list[str]:
    tables = load_jieba(spec)
    data = np.frombuffer(text.encode(), np.uint8)
    marks = np.full(len(data), 7, np.uint8)
    symbols = np.empty(len(data) + 1, np.uint16)
    scores = np.empty(score_window(tables.longest_word))
    length = mark_words(tables, data, 0, len(data), scores, symbols, marks)
    assert length == len(text)
    assert set(marks[:length].tolist()) <= {0, 1}
    cuts = [*np.flatnonzero(marks[:length]).tolist(), length]
    return [text[a:b] for a, b in itertools.pairwise(cuts)]


@pytest.mark.parametrize("hmm", [True, False])
@given(text=jieba_texts)
def test_words_are_those_of_jieba(hmm: bool, text: str) -> None:
    assert _words(SegmenterSpec("jieba", hmm=hmm), text) == oracle.private_jieba().lcut(
        text, HMM=hmm
    )


@given(st.text(HAN, max_size=60))
def test_runs_of_rare_characters_go_through_the_hmm_alike(text: str) -> None:
    assert _words(SegmenterSpec("jieba"), text) == oracle.private_jieba().lcut(text)


@given(st.text(st.sampled_from("aZ09+#&._%-中"), max_size=30))
def test_numbers_and_latin_words_are_those_of_jieba(text: str) -> None:
    for hmm in (True, False):
        spec = SegmenterSpec("jieba", hmm=hmm)
        assert _words(spec, text) == oracle.private_jieba().lcut(text, HMM=hmm)


def test_user_dictionaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A word of frequency 0 enters a set that all of jieba's tokenizers share: this test's own.
    monkeypatch.setattr(finalseg, "Force_Split_Words", set())
    path = tmp_path / "words.txt"
    path.write_text(USER_WORDS, encoding="utf-8")
    spec = SegmenterSpec("jieba", user_dicts=(str(path),))
    peer = oracle.private_jieba(spec.user_dicts)

    @given(jieba_texts)
    def check(text: str) -> None:
        assert _words(spec, text) == peer.lcut(text)
        assert _words(replace(spec, hmm=False), text) == peer.lcut(text, HMM=False)

    check()
    assert _words(spec, "用云计算") == ["用", "云计算"]
    assert _words(SegmenterSpec("jieba"), "我们") == ["我们"]


def test_force_split_words_split_the_hmms_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finalseg, "Force_Split_Words", set())
    guessed = "杭研"  # by the HMM: the dictionary does not hold it
    text = f"他来到了网易{guessed}大厦"
    assert guessed in _words(SegmenterSpec("jieba"), text)
    path = tmp_path / "words.txt"
    path.write_text(f"{guessed} 0\n", encoding="utf-8")
    spec = SegmenterSpec("jieba", user_dicts=(str(path),))
    found = _words(spec, text)
    assert found == oracle.private_jieba(spec.user_dicts).lcut(text)
    assert guessed not in found


def test_words_too_long_for_a_byte_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("中" * 256 + " 3\n", encoding="utf-8")
    with pytest.raises(WholewordError, match=r"words\.txt.*256 characters"):
        load_jieba(SegmenterSpec("jieba", user_dicts=(str(path),)))


@given(jieba_texts, st.integers(0, 200))
def test_cutting_a_text_into_chunks_changes_no_word(text: str, place: int) -> None:
    spec = SegmenterSpec("jieba")
    data = np.frombuffer(text.encode(), np.uint8)
    cut = chunk_end(load_jieba(spec).symbols, data, min(place, len(data)), len(data))
    head, tail = data[:cut].tobytes().decode(), data[cut:].tobytes().decode()
    assert _words(spec, head) + _words(spec, tail) == _words(spec, text)
