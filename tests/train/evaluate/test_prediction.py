"""Masking and filling lines of text."""

import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from preprocess.encode.tokenizer import load_tokenizer
from preprocess.errors import WholewordError
from tests.preprocess import support
from train.cli import _predictions_table
from train.evaluate.prediction import (
    Prediction,
    _choose,
    _choose_named,
    _splice,
    encoder_for,
    read_samples,
    summarize,
    warn_of_masks,
    write_csv,
)


def test_splicing_replaces_spans_and_keeps_the_rest():
    spans = [(0, 1), (2, 4), (4, 6)]
    assert _splice("a bcde!", spans, {}) == "a bcde!"
    assert _splice("a bcde!", spans, {1: "[M]"}) == "a [M]de!"
    # Two tokens on one character (bytes of it): nothing is said twice.
    assert _splice("好啊", [(0, 1), (0, 1), (1, 2)], {}) == "好啊"


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.floats(0.01, 0.99), st.integers(0, 99))
def test_whole_words_are_chosen_and_one_at_least(starts, probability, seed):
    starts[0] = True
    chosen = _choose(np.array(starts), probability, [1, seed])
    word = np.cumsum(starts)
    assert chosen.any()
    for number in np.unique(word):
        assert len(set(chosen[word == number].tolist())) == 1
    assert np.array_equal(chosen, _choose(np.array(starts), probability, [1, seed]))


def test_named_words_are_chosen_wherever_they_stand():
    # "曹操" is two tokens here and once a part of a longer word that is named too.
    spans = [(0, 1), (1, 2), (2, 3), (3, 5), (5, 6), (6, 7), (7, 7)]
    chosen = _choose_named("曹操见孙权曹操", spans, ("曹操", "孙权"))
    assert chosen.tolist() == [True, True, False, True, True, True, False]
    assert not _choose_named("曹操", [(0, 2)], ("曹",)).any()  # a token is masked whole or not
    assert not _choose_named("a.c abc", [(0, 3), (4, 7)], ("b",)).any()
    assert _choose_named("a.c abc", [(0, 3), (4, 7)], ("a.c",)).tolist() == [True, False]


def test_lines_are_read_and_bad_files_named(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xef\xbb\xbfone\r\n\n \ntwo\xff\n")
    assert read_samples(file) == ["one", "two\ufffd"]
    (tmp_path / "b.txt").write_text(" \n")
    for name in ("b.txt", "none.txt"):
        with pytest.raises(WholewordError, match=name):
            read_samples(tmp_path / name)
    file.write_bytes("患者主诉腹痛三天。\n法院认为，被告人有罪。\n".encode("gbk") * 20)
    assert read_samples(file) == ["患者主诉腹痛三天。", "法院认为，被告人有罪。"] * 20
    file.write_bytes(b"one\rtwo\r")
    with pytest.raises(WholewordError, match="its lines end in carriage returns alone"):
        read_samples(file)


def test_csv_and_summary(tmp_path):
    found = [Prediction("a,b", "a,c", "a,[MASK]", 1, 0), Prediction("好", "好", "[MASK]", 1, 1)]
    write_csv(tmp_path / "out.csv", found)
    lines = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert lines == ["src,pred,mask", '"a,b","a,c","a,[MASK]"', "好,好,[MASK]"]
    summary = summarize(found)
    assert (summary.lines, summary.exact_match, summary.token_accuracy) == (2, 0.5, 0.5)


def test_the_lines_shown_are_masked_ones_and_counted():
    empty = [Prediction(f"plain {i}", f"plain {i}", f"plain {i}", 0, 0) for i in range(4)]
    asked = [Prediction("a b", "a c", f"a [MASK] {i}", 1, 0) for i in range(6)]
    target = Console(file=io.StringIO(), width=60)
    target.print(_predictions_table([*empty, *asked]))
    text = target.file.getvalue()
    assert "5 of 6 masked lines shown" in text
    assert text.count("[MASK]") == 5
    assert "plain" not in text
    target.print(_predictions_table(asked[:1]))
    assert "1 of 1 masked line shown" in target.file.getvalue()


def test_a_user_dictionary_decides_the_words(tmp_path):
    (tmp_path / "words.txt").write_text("势分久 1000000\n", encoding="utf-8")
    tokenizer, lines = load_tokenizer(support.TOKENIZER), ["天下大势分久必合"]
    starts = [
        encoder_for(tokenizer, "auto", lines, dicts).encode(pa.array(lines, pa.large_string()))
        for dicts in ((), (str(tmp_path / "words.txt"),))
    ]
    assert [encoded.word_starts[3:6].tolist() for encoded in starts] != [[True, False, False]] * 2
    assert starts[1].word_starts[3:6].tolist() == [True, False, False]
    with pytest.raises(WholewordError, match="belong to jieba"):
        encoder_for(tokenizer, "none", lines, (str(tmp_path / "words.txt"),))


def test_masks_of_the_text_are_said_to_stay(monkeypatch):
    said = []
    monkeypatch.setattr("train.evaluate.prediction.warn", said.append)
    tokenizer = load_tokenizer(support.TOKENIZER)
    warn_of_masks(["no mask", "mask"], tokenizer)
    assert said == []
    warn_of_masks(["no mask", "a [MASK] here"], tokenizer)
    assert said[0].startswith("1 of 2 lines hold [MASK] as text, which stays: predict masks words")
