"""Samples of what was left out, so that people can see whether a rule does what they meant."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from preprocess.read.batches import DocumentBatch

MOST = 5
"""Samples of each reason: the first in the order of the input."""
CHARACTERS = 80
"""How much of a document is shown."""


@dataclass(frozen=True)
class Sample:
    """The beginning of a document that was left out, and where it stood."""

    reason: str
    path: str
    place: str
    """Where in it, such as `byte 120` or `row 7`."""
    text: str


def take_samples(reason: str, batch: DocumentBatch, places: np.ndarray) -> list[Sample]:
    """The first documents of a batch at some places."""
    return [
        Sample(reason, *batch.place(place), batch.documents[place].as_py()[:CHARACTERS])
        for place in places[:MOST].tolist()
    ]


def first_samples(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """At most `MOST` of each reason, in the order given."""
    taken: Counter[str] = Counter()
    chosen = []
    for sample in samples:
        taken[sample.reason] += 1
        if taken[sample.reason] <= MOST:
            chosen.append(sample)
    return tuple(chosen)
