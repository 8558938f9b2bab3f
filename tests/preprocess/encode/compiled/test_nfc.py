import functools
import unicodedata

import numpy as np
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from preprocess.encode.compiled.nfc import composition_classes, is_composed
from tests.preprocess.encode.compiled.texts import texts

NFC = tokenizers.normalizers.NFC().normalize_str
MARKS = [chr(c) for c in range(0x300, 0x11000) if unicodedata.combining(chr(c))]
marked = st.lists(
    st.one_of(st.sampled_from(MARKS), st.sampled_from("aeé한ᄀ각กनの中 "), st.characters()),
    max_size=9,
).map("".join)


@functools.cache
def _classes() -> np.ndarray:
    return composition_classes()


def _is_composed(text: str) -> bool:
    data = np.frombuffer(text.encode(), np.uint8)
    return bool(is_composed(_classes(), data, 0, len(data)))


@given(st.one_of(marked, texts, texts.map(NFC)))
def test_text_that_passes_is_left_alone_by_the_library(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    if _is_composed(text):
        assert NFC(text) == text


@given(st.one_of(marked, texts))
def test_text_in_nfc_without_marks_that_compose_passes(text: str) -> None:
    text = NFC(text.encode("utf-8", "ignore").decode())
    if not any(_classes()[ord(character)] == 255 for character in text):
        assert _is_composed(text)


def test_what_passes() -> None:
    for text in (
        "naïve café",
        "中国，“人民”。",
        "한국어",
        "ไทยน้ำที่",
        "हिन्दी",
        "مُحَمَّد",
        "Ελλάδα",
        "日本が",
    ):
        assert _is_composed(NFC(text)), text
    for text in ("e\u0301", "\u1100\u1161", "\u212b", "\u0958", "a\u0301\u0323"):
        assert not _is_composed(text), text
