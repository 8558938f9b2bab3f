"""Tokenizers as published folders and transformers' converters have them, around small models."""

from typing import Any

import pytest

from preprocess.encode.encoders import choose_encoder
from tests.preprocess.encode.compiled import byte_level, character_bpe, unigram
from tests.preprocess.encode.compiled.descriptions import Description, changed
from tests.preprocess.encode.compiled.equal import SEGMENTERS, check

TEXTS = [
    *["a <mask> b<mask>", "a [MASK] b  [MASK]\n", "   ``x''  don't", "|||IP_ADDRESS|||a[unused7]"],
    *["中国人民 的  天下。", "x\n\n\ny\tz ", "", " ", "é e\u0301 ﬁ İ", "<unused3><table>▁▁ ▁"],
]


def _with_mask(description: Description) -> None:
    """The mask takes the space before it: it is special, so no text ever becomes one."""
    masks = [t for t in description["added_tokens"] if t["content"] in ("<mask>", "[MASK]")]
    assert masks
    for mask in masks:
        mask["lstrip"] = True


def _roberta(description: Description) -> None:
    _with_mask(description)
    description.update(post_processor=byte_level.roberta(True, False))


def _modernbert(description: Description) -> None:
    _with_mask(description)
    names = ["|||IP_ADDRESS|||", "|||EMAIL_ADDRESS|||", *(f"[unused{n}]" for n in range(83))]
    tokens = [byte_level.added(name, 1700 + number) for number, name in enumerate(names)]
    added_tokens = description["added_tokens"] + byte_level.SPACES + tokens
    description.update(normalizer=byte_level.NFC, added_tokens=added_tokens)


def _xlm_r(description: Description) -> None:
    _with_mask(description)
    description.update(pre_tokenizer=unigram.words(unigram.metaspace()))


def _deberta_v3(description: Description) -> None:
    _with_mask(description)
    parts = [unigram.RUNS, "NFC", unigram.strip(False, True)]
    pre_tokenizer = {"type": "Sequence", "pretokenizers": [unigram.metaspace()]}
    description.update(normalizer=unigram.normalizers(*parts), pre_tokenizer=pre_tokenizer)


def _deberta_v2(description: Description) -> None:
    parts = [{"type": "Punctuation", "behavior": "Isolated"}, unigram.metaspace()]
    description.update(pre_tokenizer={"type": "Sequence", "pretokenizers": parts})


def _albert(description: Description) -> None:
    _with_mask(description)
    parts = [*unigram.QUOTES, "NFKD", "StripAccents", "Lowercase"]
    description.update(
        normalizer=unigram.normalizers(*parts),
        pre_tokenizer=unigram.words(unigram.metaspace()),
    )


def _llama_2(description: Description) -> None:
    parts = [{"type": "Prepend", "prepend": "▁"}, character_bpe.MARKS]
    description.update(normalizer=character_bpe.sequence(*parts), pre_tokenizer=None)


@pytest.mark.parametrize(
    ("zoo", "family"),
    [
        (byte_level, _roberta),
        (byte_level, _modernbert),
        (unigram, _xlm_r),
        (unigram, _deberta_v3),
        (unigram, _albert),
        (character_bpe, _with_mask),
    ],
)
def test_compiled(zoo: Any, family: Any) -> None:
    tokenizer_json = changed(zoo.trained(), family)
    assert choose_encoder("auto", tokenizer_json, SEGMENTERS[1]) == ("compiled", None)
    if zoo is byte_level:  # the others' parts are among their variants
        check(tokenizer_json, SEGMENTERS[0], TEXTS)


@pytest.mark.parametrize(
    ("zoo", "family", "reason"),
    [
        (unigram, _deberta_v2, "its pre-tokenizer is Punctuation and Metaspace, not Metaspace"),
        (character_bpe, _llama_2, "its normalizer has Prepend"),
    ],
)
def test_left_to_the_library(zoo: Any, family: Any, reason: str) -> None:
    assert choose_encoder("auto", changed(zoo.trained(), family), SEGMENTERS[1]) == (
        "library",
        reason,
    )
