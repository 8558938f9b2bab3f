"""Which characters are Han: Google's BERT's rule (`_is_chinese_char`, bert/tokenization.py)."""

HAN_RANGES: tuple[tuple[int, int], ...] = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
"""Inclusive ranges of code points."""


def is_han(character: str) -> bool:
    """Whether one character is a Chinese ideograph by BERT's rule."""
    code_point = ord(character)
    return any(first <= code_point <= last for first, last in HAN_RANGES)
