"""What the library says of every code point, whatever the tokenizer: asked once, kept on disk."""

import numpy as np
import tokenizers

from preprocess.encode.compiled.nfc import composition_classes
from preprocess.encode.compiled.pretokens import SPACE, character_classes
from preprocess.encode.compiled.tables import Tables, cached_tables, tokenizer_key
from preprocess.encode.compiled.unigram import REGEX_SPACE, WHITE


def unicode_tables() -> Tables:
    """`classes` (see `pretokens`), `composition` (see `nfc`) and `white` (see `unigram`)."""
    return cached_tables("unicode", tokenizer_key(""), _build)


def _build() -> Tables:
    classes = character_classes()
    return {"classes": classes, "composition": composition_classes(), "white": _white(classes)}


def _white(classes: np.ndarray) -> np.ndarray:
    """See `UnigramTables`."""
    split = tokenizers.pre_tokenizers.WhitespaceSplit()
    white = (classes & SPACE != 0) * np.uint8(REGEX_SPACE)
    for begin in range(0, 0x110000, 4096):
        if begin in range(0xD000, 0xE000):
            continue  # surrogates, which no text holds, and Hangul
        kept = np.zeros(4096, bool)
        for _, (first, last) in split.pre_tokenize_str(
            "".join(map(chr, range(begin, begin + 4096)))
        ):
            kept[first:last] = True
        white[begin : begin + 4096] |= ~kept * np.uint8(WHITE)
    return white
