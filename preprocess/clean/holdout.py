"""Which documents are held out for validation: by a hash of their text, few copies of each."""

from collections import Counter

import numpy as np

from preprocess.clean.cleaner import Kept

MOST_COPIES = 10
"""Copies of one text that a task gives to validation. The hash decides of a text, not of a copy:
a line that stands 9,000 times in a corpus was once four fifths of a validation part."""
LEFT_OUT = "validation_copies_left_out"


def held_below(fraction: float) -> int:
    """The XXH3-64 below which a text is held out, if that share of all texts is to be."""
    return int(fraction * 2**64)


class Holdout:
    """Decides for the documents of one task, in order."""

    def __init__(self, fraction: float, copies: dict[int, int]) -> None:
        """Hold out the texts whose hash falls into the lowest `fraction`.

        Args:
            fraction: of all texts; 0 for none.
            copies: by hash, how many copies the beginning of this task held, if it was built before
                (more text was appended).
        """
        self.copies = Counter(copies)
        """By hash, copies of each text that is held out."""
        self._limit = np.uint64(held_below(fraction))

    def __call__(self, kept: Kept, hashes: np.ndarray) -> tuple[Kept, np.ndarray]:
        """Documents less the copies that are too many, and which are held out: bool `[documents]`.

        Args:
            kept: documents.
            hashes: XXH3-64 of each, uint64 `[documents]`.
        """
        held = hashes < self._limit
        too_many = np.zeros(len(held), np.bool_)
        for place in np.flatnonzero(held):
            number = int(hashes[place])
            self.copies[number] += 1
            too_many[place] = self.copies[number] > MOST_COPIES
        return kept.without(too_many, LEFT_OUT), held[~too_many]
