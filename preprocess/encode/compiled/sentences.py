"""The rule of `preprocess.encode.sentences` as a transition table that a kernel can walk."""

import numpy as np

from preprocess.encode import sentences
from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.kernels import kernel

OTHER, HARD, SOFT, CLOSER, SPACE = range(5)
"""Classes of characters; white space that is HARD too (the line feed) counts as HARD."""
NORMAL, DOT, ENDED = range(3)
"""States: within a sentence, behind a full stop, behind the end of a sentence."""
IS_INNER = np.array(
    [byte < 0x80 and chr(byte) not in sentences.HARD | sentences.SOFT for byte in range(256)]
)
"""Bytes of ASCII that end no sentence."""

_BOUNDARY = 4
_STEPS = np.array(
    [
        [NORMAL, ENDED, DOT, NORMAL, NORMAL, 0, 0, 0],
        [NORMAL, ENDED, DOT, DOT, ENDED, 0, 0, 0],
        [NORMAL | _BOUNDARY, ENDED, ENDED, ENDED, ENDED, 0, 0, 0],
    ],
    dtype=np.uint8,
)


def character_classes() -> np.ndarray:
    """The class of every code point, uint8 `[0x110000]`."""
    classes = np.full(0x110000, OTHER, dtype=np.uint8)
    classes[[c for c in range(0x110000) if chr(c).isspace()]] = SPACE
    for characters, value in (
        (sentences.CLOSERS, CLOSER),
        (sentences.SOFT, SOFT),
        (sentences.HARD, HARD),
    ):
        classes[[ord(character) for character in characters]] = value
    return classes


@unmanaged
@kernel
def advance(state: int, character_class: int) -> tuple[int, bool]:
    """The state behind a character, and whether a sentence begins at it.

    Args:
        state: NORMAL at the start of a document.
        character_class: from `character_classes`.
    """
    step = signed(_STEPS[state, character_class])
    return step & 3, step >= _BOUNDARY
