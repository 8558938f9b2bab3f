"""How many texts are distinct, estimated from the smallest of their hashes.

The rule (k minimum values): Bar-Yossef et al., Counting Distinct Elements in a Data Stream, 2002.
"""

from bisect import bisect_left

import numpy as np

SMALLEST = 512
"""Hashes that are kept: the error is 1 / sqrt(510), 4.4%; of fewer texts the number is exact."""


class DistinctTexts:
    """The smallest distinct hashes of what was added: the same in any order, and for any cut."""

    def __init__(self, smallest: list[int] | None = None) -> None:
        self._hashes = np.array(smallest or [], np.uint64)

    @property
    def smallest(self) -> list[int]:
        """The hashes, ascending."""
        return [int(value) for value in self._hashes]

    def add(self, hashes: np.ndarray) -> None:
        """Add documents by their XXH3-64 (uint64)."""
        if len(self._hashes) == SMALLEST:
            hashes = hashes[hashes < self._hashes[-1]]
        if len(hashes):
            self._hashes = np.unique(np.concatenate([self._hashes, hashes]))[:SMALLEST]

    def count(self, below: int = 1 << 64) -> int:
        """How many distinct texts, about, have a hash below a number; all, if none is given."""
        smallest = self.smallest
        if len(smallest) < SMALLEST or below <= smallest[-1]:
            return bisect_left(smallest, below)
        return round((SMALLEST - 1) / smallest[-1] * below)
