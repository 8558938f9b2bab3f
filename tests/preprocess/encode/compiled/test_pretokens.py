import functools

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel, Digits, Split

from preprocess.encode.compiled.pretokens import (
    CL100K,
    GPT2,
    PATTERNS,
    PreTokenizerTables,
    character_classes,
    parse_levels,
    pre_token_end,
)
from tests.preprocess.encode.compiled.texts import CHARACTERS, PIECES

PATTERN = {kind: pattern for pattern, kind in PATTERNS.items()}
LIBRARY = {
    "gpt2": ByteLevel(add_prefix_space=False),
    "gpt2 as a pattern": Split(tokenizers.Regex(PATTERN[GPT2, 0]), "isolated"),
    "cl100k": Split(tokenizers.Regex(PATTERN[CL100K, 3]), "isolated"),
    "qwen2": Split(tokenizers.Regex(PATTERN[CL100K, 1]), "isolated"),
    "numbers": Split(tokenizers.Regex(r"\p{N}{1,3}"), "isolated"),
    "digits": Digits(individual_digits=True),
    "digits together": Digits(individual_digits=False),
}
LEVELS = {
    "gpt2": (GPT2, 0),
    "gpt2 as a pattern": (GPT2, 0),
    "cl100k": (CL100K, 3),
    "qwen2": (CL100K, 1),
    **{
        name: parse_levels([part])[0]
        for name, part in {
            "numbers": {
                "type": "Split",
                "pattern": {"Regex": r"\p{N}{1,3}"},
                "behavior": "Isolated",
                "invert": False,
            },
            "digits": {"type": "Digits", "individual_digits": True},
            "digits together": {"type": "Digits", "individual_digits": False},
        }.items()
    },
}
text = st.lists(
    st.one_of(st.sampled_from(PIECES), CHARACTERS, st.sampled_from("'sStTrReEvVmMlLdDſ  \n\r1a½!"))
).map("".join)


@functools.cache
def _classes() -> np.ndarray:
    return character_classes()


def _ends(name: str, document: str) -> list[int]:
    """Where pre-tokens end, in characters."""
    kind, limit = LEVELS[name]
    tables = PreTokenizerTables(_classes(), np.array([kind]), np.array([limit]))
    data = np.frombuffer(document.encode(), np.uint8)
    characters = np.cumsum(data & 0xC0 != 0x80).tolist()
    position, ends = 0, []
    while position < len(data):
        position = pre_token_end(tables, 0, data, position, len(data))
        ends.append(characters[position - 1])
    return ends


def _library_ends(name: str, document: str) -> list[int]:
    return [end for _, (_, end) in LIBRARY[name].pre_tokenize_str(document)]


@pytest.mark.parametrize("name", list(LIBRARY))
@given(document=text)
def test_pre_tokens_end_where_the_librarys_do(name: str, document: str) -> None:
    assert _ends(name, document) == _library_ends(name, document)


@pytest.mark.parametrize("name", ["gpt2", "cl100k", "digits"])
def test_every_code_point_among_others(name: str) -> None:
    points = [c for c in range(0x33000) if not 0xD800 <= c < 0xE000]
    points += [*range(0xE0000, 0xE0200), *range(0xF0000, 0x10FFFF, 0xFFF)]
    document = "".join(f"a{chr(c)}1 {chr(c)}! '{chr(c)}e'l{chr(c)} " for c in points)
    assert _ends(name, document) == _library_ends(name, document)
