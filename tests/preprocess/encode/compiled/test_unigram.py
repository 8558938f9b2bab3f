import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.encode.encoders import choose_encoder
from preprocess.encode.segmenters import SegmenterSpec
from tests.preprocess.encode.compiled import unigram as zoo
from tests.preprocess.encode.compiled.descriptions import changed
from tests.preprocess.encode.compiled.equal import SEGMENTERS, check, check_pieces
from tests.preprocess.encode.compiled.texts import texts

pytestmark = pytest.mark.usefixtures("one_jieba")

MORE = [
    *["▁", "▁▁a", "a▁b", " ▁ ", "  x  y ", " ", "   ", "\ta\n\nb\r\n", "\u3000中", "\u00a0x\u2003"],
    *[
        "ﬁre ①½",
        "Å \u212b e\u0301",
        "ｱﾞ",
        "龘靐齉",
        "龘a龘龘",
        "<unk>龘",
        "<s></s>",
        "x" * 40,
        "中文" * 60,
    ],
    *[
        "The İstanbul ẞ ΑΣ",
        "don't.  Stop.\tGo",
        "``a'' '''b```c ` ' '",
        " \u3000\u00a0 x \u2003\u3000 ",
        "道可道，非常道。名可名",
        "\u200bzero\u200dwidth\u00ad",
    ],
]
pieces = st.one_of(st.sampled_from(MORE), texts, st.text("ab ▁\n的道龘é", max_size=8))
WORDS = [
    "the",
    "The",
    "a",
    "don't",
    "''x",
    "`",
    "x.",
    "~~",
    "extraordinarily",
    "\u00e9t\u00e9",
    "中",
    "",
]
WHITE = [*[" "] * 6, "  ", "\t", " \t", "\n ", "\u00a0 ", "▁", ""]
documents_of_pieces = st.lists(st.lists(pieces, max_size=8).map("".join), max_size=3)


@pytest.mark.parametrize("variant", list(zoo.VARIANTS))
@given(documents=documents_of_pieces, segmenter=st.sampled_from(SEGMENTERS))
def test_equal_to_the_reference(
    variant: str, documents: list[str], segmenter: SegmenterSpec
) -> None:
    check(zoo.variant(variant), segmenter, documents)


@pytest.mark.parametrize("variant", ["nfkc", "never", "words", "albert, converted", "spaces"])
@settings(max_examples=15)
@given(words=st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(WHITE)), max_size=12))
def test_plain_words_between_others(variant: str, words: list[tuple[str, str]]) -> None:
    """Twice, so that words are found in the cache, whatever stood around them before."""
    document = "".join(word + white for word, white in words)
    check(zoo.variant(variant), SEGMENTERS[0], [document, f" {document}", document])


@pytest.mark.parametrize("variant", list(zoo.VARIANTS))
def test_every_piece_alone_and_in_pairs_and_real_text(variant: str) -> None:
    check_pieces(zoo.variant(variant), MORE)


@pytest.mark.parametrize("variant", ["nfkc", "albert", "deberta"])
def test_every_code_point_among_letters(variant: str) -> None:
    points = [c for c in range(0x30000) if not 0xD800 <= c < 0xE000]
    documents = [
        "".join(f"a{chr(c)}b {chr(c)} c{chr(c)}" for c in points[i : i + 40])
        for i in range(0, len(points), 40)
    ]
    check(zoo.variant(variant), SEGMENTERS[0], documents, peer="library")


def _spoilt(**changes: Any) -> str:
    return changed(zoo.trained(), lambda description: description.update(changes))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: _spoilt(normalizer=zoo.normalizers("Nmt")), "its normalizer has Nmt"),
        (
            lambda: _spoilt(normalizer=zoo.normalizers(zoo.replace("a+"))),
            "its normalizer replaces {'Regex': 'a+'}",
        ),
        (
            lambda: _spoilt(normalizer=zoo.normalizers(zoo.RUNS, "NFKC")),
            "its normalizer has NFKC after Replace",
        ),
        (lambda: _spoilt(pre_tokenizer=None), "its pre-tokenizer is none, not Metaspace"),
        (
            lambda: _spoilt(pre_tokenizer=zoo.metaspace() | {"replacement": "_"}),
            "replaces spaces by '_'",
        ),
        (
            lambda: _spoilt(pre_tokenizer=zoo.words(zoo.metaspace("never"))),
            "does not begin every word",
        ),
        (
            lambda: changed(zoo.trained(), lambda d: d["model"].update(byte_fallback=True)),
            "lacks pieces for some bytes",
        ),
        (
            lambda: changed(zoo.trained(), lambda d: d["model"].update(unk_id=None)),
            "no unknown piece",
        ),
        (
            lambda: changed(zoo.trained(), lambda d: d["added_tokens"][-1].update(special=False)),
            "added tokens that are not special",
        ),
    ],
)
def test_what_goes_to_the_library_and_why(make: Any, reason: str) -> None:
    kind, found = choose_encoder("auto", make(), SEGMENTERS[1])
    assert kind == "library"
    assert found is not None
    assert reason in found


def test_literal_special_tokens_are_text() -> None:
    special = {t["id"] for t in json.loads(zoo.trained())["added_tokens"]} - {3}
    expected = check(zoo.trained(), SEGMENTERS[0], ["<s> a</s><mask>", "<pad>b"])
    assert expected.counts["special_token_literals"] == 4
    assert not special & set(expected.ids.tolist())
