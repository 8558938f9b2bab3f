"""Rules that look at one document: a function of the user's, then the number of characters."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from preprocess.clean.samples import Sample, take_samples
from preprocess.errors import WholewordError
from preprocess.read.batches import DocumentBatch, Source
from preprocess.user_function import call_function, load_function

FILTERED = "documents_filtered_out"
CHANGED = "documents_changed_by_filter"
TOO_SHORT = "documents_too_short"
TOO_LONG = "documents_too_long"


@dataclass(frozen=True)
class Rules:
    """What decides whether a document stays, as plain data that is sent to workers."""

    filter: str | None = None
    """`package.module:function`: str -> bool (stay), or str -> str | None (what stays of it)."""
    min_chars: int | None = None
    """Shorter documents are left out."""
    max_chars: int | None = None
    """Longer documents are left out."""


@dataclass(frozen=True)
class Kept:
    """What cleaning left of a batch."""

    batch: DocumentBatch
    """The documents that stay; its counts say what was left out."""
    numbers: np.ndarray
    """int64 `[documents]`: what number each had before anything was left out."""
    sources: tuple[Source, ...]
    """The files that were read, with their documents before anything was left out."""
    samples: tuple[Sample, ...] = ()
    """Some of what was left out."""

    def without(self, left_out: np.ndarray, reason: str) -> "Kept":
        """The same less some documents (bool `[documents]`), counted under a reason."""
        if not left_out.any():
            return self
        batch, stay = self.batch, ~left_out
        counts = Counter(batch.counts)
        counts[reason] += int(left_out.sum())
        samples = take_samples(reason, batch, np.flatnonzero(left_out))
        return Kept(
            replace(choose_documents(batch, stay), counts=dict(counts)),
            self.numbers[stay],
            self.sources,
            (*self.samples, *samples),
        )


def choose_documents(batch: DocumentBatch, stay: np.ndarray) -> DocumentBatch:
    """Some documents of a batch (bool `[documents]`); what it counts is not of them alone."""
    ends = np.cumsum([source.documents for source in batch.sources], dtype=np.int64)
    staying = np.diff(np.append(0, np.cumsum(stay))[ends], prepend=0)
    return replace(
        batch,
        documents=batch.documents.filter(pa.array(stay)),
        positions=batch.positions[stay],
        sources=tuple(
            replace(source, documents=count)
            for source, count in zip(batch.sources, staying.tolist(), strict=True)
        ),
    )


class Cleaner:
    """Applies the rules to batches."""

    def __init__(self, rules: Rules) -> None:
        """Load the user's function.

        Raises:
            WholewordError: it cannot be imported.
        """
        self._rules = rules
        self._filter = load_function("--filter", rules.filter) if rules.filter else None

    def __call__(self, batch: DocumentBatch, first: int, sources: tuple[Source, ...]) -> Kept:
        """What stays of a batch.

        Args:
            batch: documents.
            first: the number of the first one.
            sources: what is said of the files that they are of.

        Raises:
            WholewordError: the user's function raised, or returned something else.
        """
        rules = self._rules
        count = len(batch.documents)
        kept = Kept(batch, np.arange(first, first + count), sources)
        if self._filter is not None:
            kept = self._filtered(kept, self._filter)
        if rules.min_chars is not None:
            shorter = pc.less(pc.utf8_length(kept.batch.documents), rules.min_chars)
            kept = kept.without(shorter.to_numpy(zero_copy_only=False), TOO_SHORT)
        if rules.max_chars is not None:
            longer = pc.greater(pc.utf8_length(kept.batch.documents), rules.max_chars)
            kept = kept.without(longer.to_numpy(zero_copy_only=False), TOO_LONG)
        return kept

    def _filtered(self, kept: Kept, function: Callable[[str], Any]) -> Kept:
        name = str(self._rules.filter)
        texts = kept.batch.documents.to_pylist()
        answers = [self._ask(name, function, text) for text in texts]
        out = np.array([answer is None for answer in answers], np.bool_)
        changed = sum(a is not None and a != t for a, t in zip(answers, texts, strict=True))
        kept = kept.without(out, FILTERED)
        if not changed:
            return kept
        stay = pa.array([a for a in answers if a is not None], pa.large_string())
        counts = kept.batch.counts | {CHANGED: changed}
        return replace(kept, batch=replace(kept.batch, documents=stay, counts=counts))

    @staticmethod
    def _ask(name: str, function: Callable[[str], Any], text: str) -> str | None:
        """What stays of a text, None where nothing does."""
        answer = call_function("--filter", name, function, text)
        if answer is None or answer is False:
            return None
        if answer is True:
            return text
        if not isinstance(answer, str):
            raise WholewordError(
                f"--filter {name}: returned {type(answer).__name__} for the document that begins "
                f"with {text[:20]!r}; it must return True or False, or a str or None"
            )
        return answer if answer.strip() else None
