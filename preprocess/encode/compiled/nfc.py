"""Whether text is in NFC already: the quick check of Unicode Standard Annex 15, section 9.

What the library's normalizer makes of each code point is asked of it. Combining classes come from
Python's `unicodedata`, and are believed where the library orders marks accordingly.
"""

import unicodedata
from collections.abc import Callable

import numpy as np
import tokenizers

from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.normalizer import map_each, non_starters
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.encode.compiled.utf8 import decode
from preprocess.kernels import kernel

_UNSURE = 255
_FIRST_LEAD = 0xCC  # of U+0300; what stands below composes with nothing before it


def composition_classes() -> np.ndarray:
    """The combining class of what NFC leaves alone, 255 of all else; uint8 `[0x110000]`."""
    nfc = tokenizers.normalizers.NFC().normalize_str
    nfd = tokenizers.normalizers.NFD().normalize_str
    composed, decomposed = map_each(nfc), map_each(nfd)
    points = np.arange(0x110000)
    marks = np.flatnonzero(non_starters())
    classes = np.zeros(0x110000, np.uint8)
    classes[marks] = [_believed_class(nfd, chr(mark)) for mark in marks]
    classes[(composed.lengths != 1) | (composed.first() != points)] = _UNSURE
    classes[decomposed.last()[decomposed.lengths > 1]] = _UNSURE  # composes with what is before
    assert not classes[:0x300].any()
    return classes


def _believed_class(nfd: Callable[[str], str], mark: str) -> int:
    """Python's combining class of a mark, if the library keeps it beside others of its class."""
    combining = unicodedata.combining(mark)
    other = _REPRESENTATIVES.get(combining)
    if other is None:
        return _UNSURE
    pairs = (mark + other, other + mark)
    return combining if all(nfd(f"a{pair}") == f"a{pair}" for pair in pairs) else _UNSURE


_REPRESENTATIVES = {
    unicodedata.combining(chr(c)): chr(c)
    for c in range(0x1E944, 0x2FF, -1)
    if unicodedata.combining(chr(c)) and not unicodedata.decomposition(chr(c))
}
"""A mark of each combining class that is not 0."""


@unmanaged
@kernel
def is_composed(classes: np.ndarray, data: np.ndarray, position: int, end: int) -> bool:
    """Whether NFC surely leaves a text as it is.

    Args:
        classes: of `composition_classes`.
        data: uint8, valid UTF-8.
        position: where the text begins.
        end: where it ends.
    """
    before = 0
    while position < end:
        if data[position] < _FIRST_LEAD:
            position += 1  # continuation bytes of characters below U+0300 are skipped here, too
            before = 0
            continue
        code_point, position = decode(data, position)
        here = signed(classes[code_point])
        if here == _UNSURE or (here != 0 and here < before):
            return False
        before = here
    return True
