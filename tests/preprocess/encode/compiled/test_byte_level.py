import json
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.encode.encoders import choose_encoder, unsupported_reason
from preprocess.encode.segmenters import SegmenterSpec
from tests.preprocess import support
from tests.preprocess.encode.compiled import byte_level as zoo
from tests.preprocess.encode.compiled.descriptions import changed
from tests.preprocess.encode.compiled.equal import SEGMENTERS, check, check_pieces, encoder
from tests.preprocess.encode.compiled.texts import PIECES, texts

pytestmark = pytest.mark.usefixtures("one_jieba")

MORE = [
    *["don't", "DON'T", "'S", "'ſ", "'ſt", "I'll", "they'Ve", "'", "''", "a'", "'r", "'l", "'Re"],
    *["12345", " 12", "½²", "Ⅻ", "٣٤", "  ", "   x", "\n\n", "\r\n x", "a\n\nb", " \n ", "!\n"],
    *["|||IP|||", "|||IP|", "a,b,", "a,", "é", "国之", "e\u0301", "ไทยน้ำ", "हिन्दी क़", "مُحَمَّد"],
    *["?!\r\n\r\n", "\u00a0x", " " * 30, "<s>", "<mask> ", "<unk>", "x" * 200, "中文" * 100],
    *["\u1100\u1161", "xqxq äq", "\u2028x"],
]
pieces = st.one_of(st.sampled_from(MORE), texts, st.text("ab 1\n'sl,é国之\u0301", max_size=8))
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


def test_documents_of_many_chunks_and_long_pre_tokens() -> None:
    rng = random.Random(5)
    han = "".join(chr(rng.randrange(0x4E00, 0x9FD6)) for _ in range(15_000))
    mixed = "".join(rng.choices([*PIECES, *MORE], k=4000))
    for name in ("gpt2", "neox, prefix", "llama3"):
        for segmenter in SEGMENTERS[:3]:
            check(zoo.variant(name), segmenter, [mixed, "a" * 30_000, han, " " * 40_000 + "中"])


def test_slices_and_no_documents() -> None:
    compiled = encoder(zoo.variant("neox"), SEGMENTERS[1], "compiled")
    reference = encoder(zoo.variant("neox"), SEGMENTERS[1], "reference")
    array = pa.array(["first 中国", "", "e\u0301x. Third", "第四。第五"], pa.large_string())
    for part in (array.slice(1, 2), array.slice(3), array.slice(2, 0), array[:0]):
        assert compiled.encode(part).ids.tolist() == reference.encode(part).ids.tolist()
        assert compiled.encode(part).offsets.tolist() == reference.encode(part).offsets.tolist()


def test_a_cache_of_pre_tokens_changes_nothing() -> None:
    """A second pass finds everything there, whatever stood in the same place before."""
    documents = [*support.zh_text(30_000).splitlines(), *support.en_text(30_000).splitlines()]
    for _ in range(2):
        check(zoo.variant("qwen2"), SEGMENTERS[0], documents)


def _spoilt(**changes: Any) -> str:
    return changed(zoo.trained(), lambda description: description.update(changes))


def _spoilt_model(**changes: Any) -> str:
    return changed(zoo.trained(), lambda description: description["model"].update(changes))


def _with_added(*tokens: dict[str, Any], **changes: Any) -> str:
    return changed(
        zoo.trained(), lambda d: d.update(added_tokens=[*d["added_tokens"], *tokens], **changes)
    )


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: _spoilt(normalizer={"type": "NFKC"}), "its normalizer is NFKC, not NFC"),
        (lambda: _spoilt(pre_tokenizer=None), "its pre-tokenizer is none, not ByteLevel"),
        (
            lambda: _spoilt(pre_tokenizer=zoo.sequence({"type": "Whitespace"}, zoo.byte_level())),
            "its pre-tokenizer is Whitespace before ByteLevel",
        ),
        (
            lambda: _spoilt(pre_tokenizer=zoo.sequence(zoo.split("[0-9]"), zoo.byte_level())),
            "splits by a pattern of its own",
        ),
        (
            lambda: _spoilt(
                pre_tokenizer=zoo.sequence(zoo.split(r"\p{N}"), zoo.byte_level(prefix=True))
            ),
            "add_prefix_space",
        ),
        (
            lambda: _spoilt(
                post_processor=zoo.sequence(zoo.TRIM, zoo.roberta(True, False), name="processors")
            ),
            "more than once",
        ),
        (lambda: _spoilt_model(dropout=0.1), "left out at random"),
        (lambda: _spoilt_model(end_of_word_suffix="</w>"), "end_of_word_suffix"),
        (
            lambda: changed(
                zoo.trained(),
                lambda d: (zoo.unknown_bytes(d, False), d["model"].update(unk_token=None)),
            ),
            "lacks 3 of the 256 bytes",
        ),
        (lambda: _with_added(zoo.added("x", 1700, lstrip=True)), "'x' has lstrip"),
        (lambda: _with_added(zoo.added("x", 1700, single_word=True)), "'x' has single_word"),
        (
            lambda: _with_added(zoo.added("e\u0301", 1700), normalizer=zoo.NFC),
            "is not in NFC",
        ),
        (
            lambda: _with_added(zoo.added("x", 1700), zoo.added("y", 1701, normalized=False)),
            "some of its added tokens are normalized",
        ),
    ],
)
def test_what_goes_to_the_library_and_why(make: Any, reason: str) -> None:
    tokenizer_json = make()
    kind, found = choose_encoder("auto", tokenizer_json, SEGMENTERS[1])
    assert kind == "library"
    assert found is not None
    assert reason in found
    library = encoder(tokenizer_json, SEGMENTERS[1], "library")
    array = pa.array([*MORE, "天下 xyz 大势"], pa.large_string())
    if "at random" not in reason:
        reference = encoder(tokenizer_json, SEGMENTERS[1], "reference")
        assert library.encode(array).ids.tolist() == reference.encode(array).ids.tolist()


def test_literal_special_tokens_are_text() -> None:
    special = {t["id"] for t in json.loads(zoo.trained())["added_tokens"]}
    array = pa.array(["<s> a</s><mask>", "<pad>"], pa.large_string())
    ids = encoder(zoo.variant("roberta"), SEGMENTERS[0], "compiled").encode(array).ids
    assert len(ids) > 5
    assert not special & set(ids.tolist())


def test_large_vocabularies_get_larger_ids() -> None:
    words = {f"w{number}": 1500 + number for number in range(65_000)}
    large = changed(zoo.trained(), lambda d: d["model"]["vocab"].update(words))
    assert unsupported_reason(large, SEGMENTERS[0]) is None
    assert (
        encoder(large, SEGMENTERS[0], "compiled").encode(pa.array([], pa.large_string())).ids.dtype
        == np.uint32
    )
    check(large, SEGMENTERS[0], ["a b w17", "中国"])
