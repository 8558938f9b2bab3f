import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.encode.encoders import choose_encoder
from preprocess.encode.segmenters import SegmenterSpec
from tests.preprocess.encode.compiled import character_bpe as zoo
from tests.preprocess.encode.compiled.byte_level import added
from tests.preprocess.encode.compiled.descriptions import changed
from tests.preprocess.encode.compiled.equal import SEGMENTERS, check, check_pieces
from tests.preprocess.encode.compiled.texts import PIECES, texts

pytestmark = pytest.mark.usefixtures("one_jieba")

MORE = [
    *["▁", "▁▁a", "a▁▁▁▁b", " ▁ ", "  x  y ", " ", "   ", "\n\n\n", "\n" * 20, "\t\t"],
    *["<h1>a</h1>", "<unused0>", "<unused", "a,b,", "国之", "<0x41>", "<bos>", "<mask> x", "<unk>"],
    *["龘靐齉", "龘a龘龘", "\U00020000", "e\u0301", "x" * 200, "中文" * 60, "İ Å ﬁ"],
]
pieces = st.one_of(st.sampled_from(MORE), texts, st.text("ab ▁\n的道龘é,<", max_size=8))
documents_of_pieces = st.lists(st.lists(pieces, max_size=8).map("".join), max_size=3)


@pytest.mark.parametrize("variant", list(zoo.VARIANTS))
@given(documents=documents_of_pieces, segmenter=st.sampled_from(SEGMENTERS))
def test_equal_to_the_reference(
    variant: str, documents: list[str], segmenter: SegmenterSpec
) -> None:
    check(zoo.variant(variant), segmenter, documents)


@pytest.mark.parametrize("variant", list(zoo.VARIANTS))
def test_every_piece_alone_and_in_pairs_and_real_text(variant: str) -> None:
    check_pieces(zoo.variant(variant), MORE)


def test_long_documents() -> None:
    rng = random.Random(7)
    mixed = "".join(rng.choices([*PIECES, *MORE], k=4000))
    for segmenter in SEGMENTERS[:2]:
        check(zoo.variant("gemma"), segmenter, [mixed, "a" * 20_000, " " * 70_000 + "中"])


def _with_added(*tokens: dict[str, Any]) -> str:
    return changed(zoo.trained(), lambda d: d["added_tokens"].extend(tokens))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda: changed(zoo.trained(), lambda d: d["model"]["vocab"].pop("<0x41>")),
            "lacks pieces for 1 of the 256 bytes",
        ),
        (
            lambda: changed(zoo.trained(), lambda d: d["model"].update(ignore_merges=True)),
            "ignore_merges",
        ),
        (
            lambda: changed(zoo.trained(), lambda d: d["model"]["merges"].append(["<0x41>", "a"])),
            "it merges pieces of bytes",
        ),
        (
            lambda: changed(zoo.trained(), lambda d: d.update(normalizer=zoo.replace("ab", "c"))),
            "its normalizer replaces {'String': 'ab'}",
        ),
        (
            lambda: changed(zoo.trained(), lambda d: d.update(normalizer=None)),
            "its pre-tokenizer is Split",
        ),
        (lambda: _with_added(added("x", 9000, normalized=True)), "'x' is normalized"),
        (lambda: _with_added(added("x", 9000, normalized=False, lstrip=True)), "'x' has lstrip"),
    ],
)
def test_what_goes_to_the_library_and_why(make: Any, reason: str) -> None:
    kind, found = choose_encoder("auto", make(), SEGMENTERS[1])
    assert kind == "library"
    assert found is not None
    assert reason in found
