from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import jieba
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.encode.segmenters import SegmenterSpec, make_segmenter, parse_segmenter
from preprocess.errors import WholewordError
from tests.preprocess import support

HERE = "tests.preprocess.encode.test_segmenters"


def cut(name: str, text: str, user_dicts: tuple[str, ...] = (), hmm: bool = True) -> list[str]:
    """The words that a segmenter finds."""
    found = make_segmenter(parse_segmenter(name, user_dicts, hmm))(text)
    assert found.starts is not None
    begins = sorted({0, *found.starts, len(found.text)})
    return [found.text[b:e] for b, e in pairwise(begins)]


def halves(text: str) -> list[str]:
    return [text[: len(text) // 2], "", text[len(text) // 2 :]]


def shout(text: str) -> list[str]:
    return [text.upper(), "!"]


def fail(text: str) -> list[str]:
    raise KeyError("no such word")


def numbers(text: str) -> list[int]:
    return [len(text)]


NOT_A_FUNCTION = 5


@pytest.mark.parametrize("hmm", [True, False])
def test_jieba_words(hmm: bool) -> None:
    segment = make_segmenter(SegmenterSpec("jieba", hmm=hmm))
    for line in [*support.zh_text(20_000).splitlines(), *support.ODD_TEXTS, "", "\n", " a"]:
        words = jieba.lcut(line, HMM=hmm)
        begins = {sum(map(len, words[:i])) for i in range(len(words))}
        found = segment(line)
        assert found.text == line
        assert found.starts == begins
        assert not found.counts


def test_jieba_keeps_numbers_names_and_words() -> None:
    assert cut("jieba", "自然语言处理3.14和C++") == ["自然语言", "处理", "3.14", "和", "C++"]


def test_a_user_dictionary_may_hold_whatever_jieba_takes(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("三国 演义 5 n\n坏 x n\n\n好词\n", encoding="utf-8")
    assert parse_segmenter("jieba", (str(path),), True).user_dicts == (str(path),)


def test_hmm_finds_words_that_the_dictionary_lacks() -> None:
    assert "杭研" in cut("jieba", "他来到了网易杭研大厦")
    assert "杭研" not in cut("jieba", "他来到了网易杭研大厦", hmm=False)


def test_user_dictionaries_are_private(tmp_path: Path) -> None:
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("云计算平台 50 n\n石墨烯\n", encoding="utf-8")
    second.write_text("\ufeff凱特琳 nz\n\n", encoding="utf-8")
    text = "凱特琳在云计算平台买石墨烯"
    words = cut("jieba", text, (str(first), str(second)))
    assert words == ["凱特琳", "在", "云计算平台", "买", "石墨烯"]
    assert "云计算平台" not in cut("jieba", text)
    assert "云计算平台" not in jieba.lcut(text)


@given(st.text(st.sampled_from("中国a, \u3000\n1"), max_size=30))
def test_whitespace_words_are_what_white_space_separates(text: str) -> None:
    found = make_segmenter(SegmenterSpec("whitespace"))(text)
    assert found.starts is not None
    assert "".join(found.text.split()) == "".join(text.split())
    begins, position = set(), 0
    for word in text.split():  # where each word lies in the text without marks
        position = next(
            i for i in range(position, len(found.text)) if found.text.startswith(word, i)
        )
        begins.add(position)
        position += len(word)
    assert found.starts == begins


def test_spaces_between_han_are_marks_and_others_are_text() -> None:
    segment = make_segmenter(SegmenterSpec("whitespace"))
    found = segment("中国  人民 a b 中 1\u3000好 好\n好 ")
    assert found.text == "中国人民 a b 中 1\u3000好好\n好 "
    assert found.starts == {0, 2, 5, 7, 9, 11, 13, 14, 16}
    assert segment(" 中").text == " 中"
    assert segment("中 国，人").text == "中国，人"
    assert segment("中 ， 人").text == "中 ， 人"


def test_none_leaves_words_to_the_tokenizer() -> None:
    found = make_segmenter(SegmenterSpec("none"))("中国 人民")
    assert (found.text, found.starts) == ("中国 人民", None)


def test_a_function_of_the_users() -> None:
    assert cut(f"{HERE}:halves", "abcdef") == ["abc", "def"]


def test_pieces_that_do_not_join_fall_back_and_are_counted() -> None:
    found = make_segmenter(parse_segmenter(f"{HERE}:shout", (), True))("abc")
    assert (found.text, found.starts) == ("abc", None)
    assert found.counts == {"segmenter_did_not_join": 1}


@pytest.mark.parametrize(("name", "problem"), [("fail", "raised KeyError"), ("numbers", "of str")])
def test_a_function_that_fails_is_named(name: str, problem: str) -> None:
    segment = make_segmenter(parse_segmenter(f"{HERE}:{name}", (), True))
    with pytest.raises(WholewordError, match=f"--segmenter {HERE}:{name}: .*{problem}"):
        segment("abc")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("thulac", "unknown"),
        ("custom", "unknown"),
        ("no_such_module:cut", "cannot be imported"),
        (":cut", "cannot be imported"),
        (".relative:cut", "cannot be imported"),
        (f"{HERE}:missing", "cannot be imported"),
        (f"{HERE}:NOT_A_FUNCTION", "not a function"),
    ],
)
def test_unknown_segmenters_are_refused(name: str, problem: str) -> None:
    with pytest.raises(WholewordError, match=problem) as error:
        parse_segmenter(name, (), True)
    assert f"--segmenter {name}" in str(error.value)


def test_jiebas_options_belong_to_jieba() -> None:
    for name in ("none", "whitespace", f"{HERE}:halves"):
        with pytest.raises(WholewordError, match="belong to jieba"):
            parse_segmenter(name, (), False)


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: path.write_bytes("词 3 n".encode("gbk")), "cannot be read as UTF-8"),
    ],
)
def test_bad_user_dictionaries_are_named(
    tmp_path: Path, write: Callable[[Path], object], problem: str
) -> None:
    path = tmp_path / "words.txt"
    write(path)
    with pytest.raises(WholewordError, match=problem) as error:
        parse_segmenter("jieba", (str(path),), True)
    assert str(error.value).startswith(str(path))
