"""The audit: some documents are encoded a second time, by the reference, and compared."""

from collections import Counter
from dataclasses import replace

import numpy as np

from preprocess.encode.encoders import make_encoder
from preprocess.encode.protocol import EncodedDocuments, Encoder, EncoderSpec
from preprocess.errors import WholewordError
from preprocess.read.batches import DocumentBatch

MAX_BYTES = 1 << 20
"""Longer documents would take the reference seconds each: they are skipped and counted."""


class Auditor:
    """Compares every Nth document of a task with the reference encoder."""

    def __init__(self, spec: EncoderSpec, every: int) -> None:
        self._spec = replace(spec, kind="reference")
        self._every = every
        self._reference: Encoder | None = None

    def check(
        self, batch: DocumentBatch, encoded: EncodedDocuments, first_document: int
    ) -> dict[str, int]:
        """Compare the documents whose number in the task is a multiple of N.

        Args:
            batch: the documents.
            encoded: what the encoder in use made of them.
            first_document: the number, in the task, of the batch's first document.

        Returns:
            Counts of documents audited and skipped.

        Raises:
            WholewordError: at the first difference, with the document and both outputs.
        """
        if not self._every:
            return {}
        chosen = range(-first_document % self._every, len(batch.documents), self._every)
        counts: Counter[str] = Counter()
        for index in chosen:
            if len(batch.documents[index].as_buffer()) > MAX_BYTES:
                counts["documents_too_long_to_audit"] += 1
            else:
                self._compare(batch, encoded, index)
                counts["documents_audited"] += 1
        return dict(counts)

    def _compare(self, batch: DocumentBatch, encoded: EncodedDocuments, index: int) -> None:
        if self._reference is None:
            self._reference = make_encoder(self._spec)
        expected = self._reference.encode(batch.documents.slice(index, 1))
        begin, end = encoded.offsets[index], encoded.offsets[index + 1]
        for name in ("ids", "word_starts", "sentence_starts"):
            found, wanted = getattr(encoded, name)[begin:end], getattr(expected, name)
            if not np.array_equal(found, wanted):
                path, place = batch.place(index)
                raise WholewordError(
                    f"{path}: audit: {name} of the document at {place} "
                    f"differ from the reference encoder's: {_excerpt(found, wanted)}; build with "
                    "--encoder reference, and please report the document"
                )


def _excerpt(found: np.ndarray, wanted: np.ndarray) -> str:
    common = min(len(found), len(wanted))
    different = np.flatnonzero(found[:common] != wanted[:common])
    first = int(different[0]) if len(different) else common
    around = slice(max(0, first - 3), first + 5)
    return (
        f"from token {around.start}, {found[around].astype(int).tolist()} against "
        f"{wanted[around].astype(int).tolist()} (lengths {len(found)} and {len(wanted)})"
    )
