r"""Pre-tokenizers of byte-level BPE: where the pre-token that begins at a place ends.

Patterns part a text without gaps, so each is a function from the place where a pre-token begins to
the place where it ends. In a sequence of pre-tokenizers, each parts the pieces of the one before.

- GPT2: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
- CL100K: `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|`
  ` ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`; Qwen2 has `\p{N}` for `\p{N}{1,3}`
- NUMBERS: `\p{N}{1,n}`, what stands between being pieces, too
- DIGITS: the same of what Rust calls numeric

What `\p{L}`, `\p{N}`, `\s` and numeric mean is asked of the library, code point by code point.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tokenizers

from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.encode.compiled.utf8 import decode, previous
from preprocess.kernels import kernel

GPT2, CL100K, NUMBERS, DIGITS = range(4)

LETTER = 1
NUMBER = 2
SPACE = 4
NUMERIC = 8

_WORD = LETTER | NUMBER | SPACE
"""No bit of these: what patterns call `[^\\s\\p{L}\\p{N}]`."""
_MANY = 1 << 40
_APOSTROPHE, _BLANK, _LF, _CR = 0x27, 0x20, 0x0A, 0x0D
_LONG_S = 0x17F  # the one character outside ASCII that `(?i:...)` takes for a letter of these
_E, _L, _R, _V = (ord(letter) for letter in "elrv")
_BLOCK = 4096
_CODE_POINTS = 0x110000
_SURROGATES = range(0xD800, 0xE000)

_CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
_GPT2_PATTERN = rf"{_CONTRACTIONS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
_CL100K_PATTERN = (
    rf"(?i:{_CONTRACTIONS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = {
    _GPT2_PATTERN: (GPT2, 0),
    _CL100K_PATTERN: (CL100K, 3),
    _CL100K_PATTERN.replace("{1,3}", ""): (CL100K, 1),
}
"""Kind and limit of patterns that part a text without gaps."""
_NUMBER_PATTERNS = {r"\p{N}": 1, r"\p{N}{1,3}": 3, r"\p{N}+": _MANY}


class PreTokenizerTables(NamedTuple):
    """A sequence of pre-tokenizers, and what they ask of characters."""

    classes: np.ndarray
    """uint8 `[0x110000]`, a sum of LETTER, NUMBER, SPACE and NUMERIC."""
    kinds: np.ndarray
    """int64 `[levels]`, GPT2 to DIGITS."""
    limits: np.ndarray
    """int64 `[levels]`, the most digits in a pre-token."""


def character_classes() -> np.ndarray:
    """Ask the library about every code point; uint8 `[0x110000]`."""
    classes = np.zeros(_CODE_POINTS, np.uint8)
    for pattern, bit in ((r"\p{L}", LETTER), (r"\p{N}", NUMBER), (r"\s", SPACE)):
        split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "removed")
        for begin, text in _blocks():
            matches = np.ones(_BLOCK, bool)
            for _, (first, last) in split.pre_tokenize_str(text):
                matches[first:last] = False
            classes[begin : begin + _BLOCK] |= matches * np.uint8(bit)
    digits = tokenizers.pre_tokenizers.Digits(individual_digits=True)
    for begin, text in _blocks():
        spaced = f"a{'a'.join(text)}a"  # the code points are the odd characters
        alone = np.zeros(len(spaced), bool)
        for _, (first, last) in digits.pre_tokenize_str(spaced):
            alone[first] = last - first == 1
        classes[begin : begin + _BLOCK] |= alone[1::2] * np.uint8(NUMERIC)
    return classes


def _blocks() -> Iterator[tuple[int, str]]:
    """All code points, many at a time, with letters for surrogates, which no text holds."""
    for begin in range(0, _CODE_POINTS, _BLOCK):
        block = range(begin, begin + _BLOCK)
        yield begin, "".join("a" if c in _SURROGATES else chr(c) for c in block)


def parse_levels(parts: Iterable[dict[str, Any]]) -> list[tuple[int, int]] | str:
    """Kind and limit of each `Split` and `Digits`, or why one is not known here."""
    levels = []
    for part in parts:
        name = part["type"]
        if name == "Digits":
            levels.append((DIGITS, 1 if part["individual_digits"] else _MANY))
        elif name == "Split":
            pattern = part["pattern"].get("Regex", "")
            isolates = part["behavior"] == "Isolated" and not part["invert"]
            keeps = part["behavior"] == "Removed" and part["invert"]
            if pattern in PATTERNS and (isolates or keeps):
                levels.append(PATTERNS[pattern])
            elif pattern in _NUMBER_PATTERNS and isolates:
                levels.append((NUMBERS, _NUMBER_PATTERNS[pattern]))
            else:
                return f"its pre-tokenizer splits by a pattern of its own ({part['pattern']})"
        else:
            return f"its pre-tokenizer is {name} before ByteLevel"
    return levels


@unmanaged
@kernel
def pre_token_end(
    tables: PreTokenizerTables, level: int, data: np.ndarray, position: int, end: int
) -> int:
    """Where the pre-token that begins at `position` ends.

    Args:
        tables: of the pre-tokenizers.
        level: which of them.
        data: uint8, valid UTF-8.
        position: below `end`.
        end: of the piece that is parted; what follows is not looked at.
    """
    classes = tables.classes
    kind = tables.kinds[level]
    if kind == GPT2:
        return _gpt2_end(classes, data, position, end)
    if kind == CL100K:
        return _cl100k_end(classes, data, position, end, tables.limits[level])
    return _numbers_end(
        classes, data, position, end, NUMBER if kind == NUMBERS else NUMERIC, tables.limits[level]
    )


@unmanaged
@kernel
def _run_end(classes: np.ndarray, data: np.ndarray, position: int, end: int, bits: int) -> int:
    """The end of the characters whose class is `bits` among letters, numbers and spaces."""
    while position < end:
        if data[position] < 0x80:
            if signed(classes[data[position]]) & _WORD != bits:
                break
            position += 1
            continue
        code_point, behind = decode(data, position)
        if signed(classes[code_point]) & _WORD != bits:
            break
        position = behind
    return position


@unmanaged
@kernel
def _gpt2_end(classes: np.ndarray, data: np.ndarray, position: int, end: int) -> int:
    lead = data[position]
    if lead == _APOSTROPHE:
        behind = _contraction_end(data, position, end, False)
        if behind > position:
            return behind
    code_point, behind = decode(data, position)
    bits = signed(classes[code_point]) & _WORD
    if lead == _BLANK and behind < end:
        following, second = decode(data, behind)
        following_bits = signed(classes[following]) & _WORD
        if following_bits != SPACE:
            return _run_end(classes, data, second, end, following_bits)
    if bits == SPACE:
        return _spaces_end(classes, data, position, end)
    return _run_end(classes, data, behind, end, bits)


@unmanaged
@kernel
def _cl100k_end(classes: np.ndarray, data: np.ndarray, position: int, end: int, limit: int) -> int:
    lead = data[position]
    if lead == _APOSTROPHE:
        behind = _contraction_end(data, position, end, True)
        if behind > position:
            return behind
    code_point, behind = decode(data, position)
    bits = signed(classes[code_point]) & _WORD
    if bits == LETTER:
        return _run_end(classes, data, behind, end, LETTER)
    if bits == NUMBER:
        return _numbers_end(classes, data, position, end, NUMBER, limit)
    if behind < end and lead != _LF and lead != _CR:
        following, second = decode(data, behind)
        following_bits = signed(classes[following]) & _WORD
        if following_bits == LETTER:
            return _run_end(classes, data, second, end, LETTER)
        if lead == _BLANK and following_bits == 0:
            return _line_ends(data, _run_end(classes, data, second, end, 0), end)
    if bits == 0:
        return _line_ends(data, _run_end(classes, data, behind, end, 0), end)
    spaces = _run_end(classes, data, position, end, SPACE)
    for here in range(spaces - 1, position - 1, -1):
        if data[here] == _LF or data[here] == _CR:
            return here + 1
    return _spaces_end(classes, data, position, end)


@unmanaged
@kernel
def _numbers_end(
    classes: np.ndarray, data: np.ndarray, position: int, end: int, bit: int, limit: int
) -> int:
    """The end of up to `limit` characters of a class, or of those that are not of it."""
    code_point, behind = decode(data, position)
    wanted = signed(classes[code_point]) & bit
    left = limit - 1 if wanted else _MANY
    while behind < end and left > 0:
        code_point, following = decode(data, behind)
        if signed(classes[code_point]) & bit != wanted:
            break
        behind = following
        left -= 1
    return behind


@unmanaged
@kernel
def _spaces_end(classes: np.ndarray, data: np.ndarray, position: int, end: int) -> int:
    r"""`\s+(?!\S)|\s+`: the last space of several goes with what follows."""
    behind = _run_end(classes, data, position, end, SPACE)
    if behind == end:
        return behind
    last = previous(data, behind)
    return last if last > position else behind


@unmanaged
@kernel
def _line_ends(data: np.ndarray, position: int, end: int) -> int:
    while position < end and (data[position] == _LF or data[position] == _CR):
        position += 1
    return position


@unmanaged
@kernel
def _contraction_end(data: np.ndarray, position: int, end: int, any_case: bool) -> int:
    """The end of `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll` or `'d`; `position` if there is none."""
    if position + 1 >= end:
        return position
    first = signed(data[position + 1])
    if any_case:
        if first >= 0x80:
            code_point, behind = decode(data, position + 1)
            return behind if code_point == _LONG_S else position
        first |= 0x20 * (0x41 <= first <= 0x5A)
    if first in (0x73, 0x74, 0x6D, 0x64):
        return position + 2
    if position + 2 >= end:
        return position
    second = signed(data[position + 2])
    if any_case:
        second |= 0x20 * (0x41 <= second <= 0x5A)
    if (second == _E and first in (_R, _V)) or (first == _L and second == _L):
        return position + 3
    return position
