"""Plain words against a regular expression, byte by byte."""

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from preprocess.encode.compiled.plain_words import READ_AHEAD, plain_word_end

PLAIN = re.compile(rb" ?[A-Za-z]+")
LETTERS = "azAZ"
BESIDE_LETTERS = "@[`{\x00\x7f 0'\n\r\u00e9\u4e2d\U0001f600"


def slow_end(data: bytes, position: int, end: int) -> int:
    found = PLAIN.match(data, position, end)
    if position + READ_AHEAD > len(data) or not found or len(found[0]) > 15:
        return position
    return position if found.end() < end and data[found.end()] >= 0x80 else found.end()


@given(
    st.lists(st.one_of(st.sampled_from(LETTERS + BESIDE_LETTERS), st.text(LETTERS, max_size=18))),
    st.data(),
)
def test_as_a_pattern_finds_them(parts: list[str], draw: st.DataObject) -> None:
    data = " ".join(parts).encode() + "".join(parts).encode() + b"."
    end = draw.draw(st.integers(1, len(data)))
    array = np.frombuffer(data, np.uint8)
    for position in range(end):
        assert plain_word_end(array, position, end) == slow_end(data, position, end)


def test_every_byte_ends_a_word_or_is_a_letter() -> None:
    for length in range(16):
        for byte in range(256):
            data = b" " + b"m" * length + bytes([byte]) + b" " * READ_AHEAD
            array = np.frombuffer(data, np.uint8)
            assert plain_word_end(array, 0, len(data)) == slow_end(data, 0, len(data)), (
                length,
                byte,
            )


def test_words_are_found_at_all() -> None:
    data = np.frombuffer(b"plain words, mostly" + b" " * READ_AHEAD, np.uint8)
    assert [plain_word_end(data, at, len(data)) for at in (0, 5, 11, 12)] == [5, 11, 11, 19]
