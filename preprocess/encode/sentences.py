"""Where sentences begin: one rule, stated once, in plain Python.

A sentence ends after a run of hard terminators (or a full stop that white space follows), together
with the closing quotes and brackets after it; the next one begins at the next character that is
neither one of these nor white space. A line feed ends a sentence too, so that text with one
sentence per line (the format of Google's BERT) keeps its lines. Abbreviations are not recognised:
sentences are units of packing and of pairs, where a false boundary does no harm.
"""

HARD = frozenset("。！？!?…⋯｡\n")
"""End a sentence wherever they stand."""
SOFT = frozenset(".")
"""End a sentence only where white space follows (`3.14`, `e.g.` and `wholeword.org` do not)."""
CLOSERS = frozenset("”’」』）)】》〉\"'］]｝}〕")
"""Belong to the sentence before them."""

_NORMAL, _DOT, _ENDED = range(3)


def sentence_boundaries(text: str) -> list[int]:
    """Indices (in characters, ascending, all above 0) at which a new sentence begins."""
    boundaries = []
    state = _NORMAL
    for index, character in enumerate(text):
        if state == _ENDED:
            if _extends_end(character):
                continue
            boundaries.append(index)
        elif state == _DOT:
            if character in CLOSERS or character in SOFT:
                continue
            if character.isspace():
                state = _ENDED
                continue
        state = _ENDED if character in HARD else _DOT if character in SOFT else _NORMAL
    return boundaries


def _extends_end(character: str) -> bool:
    return character in HARD or character in SOFT or character in CLOSERS or character.isspace()
