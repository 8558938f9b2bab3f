"""What a task finds out about its documents, besides their rows."""

from collections import Counter
from typing import Any

import numpy as np

from preprocess.clean.cleaner import Kept
from preprocess.clean.distinct import DistinctTexts
from preprocess.clean.samples import Sample, first_samples
from preprocess.encode.dictionary import DictionaryWords
from preprocess.encode.protocol import EncodedDocuments, EncoderSpec
from preprocess.encode.unknown import UnknownCharacters
from preprocess.read.buffers import text_buffers


class Findings:
    """Collects them; created once per worker, because it loads the user's dictionaries."""

    def __init__(self, encoder: EncoderSpec, unk_id: int | None) -> None:
        self._dictionary = DictionaryWords(encoder.segmenter.user_dicts)
        self._unknown = UnknownCharacters(encoder.tokenizer_json, unk_id)
        self.begin_task()

    def begin_task(self) -> None:
        """Forget what was found."""
        self._dictionary.begin_task()
        self._unknown.begin_task()
        self._counts: Counter[str] = Counter()
        self._samples: tuple[Sample, ...] = ()
        self._distinct = DistinctTexts()
        self._files: dict[str, tuple[int, int]] = {}
        self._returns = 0
        self._read = 0

    def add(
        self, kept: Kept, hashes: np.ndarray, encoded: EncodedDocuments, words_cut: int
    ) -> None:
        """Look at documents.

        Args:
            kept: the documents that are encoded, and what was left out of the batch.
            hashes: XXH3-64 of the batch's texts, uint64.
            encoded: what became of the documents.
            words_cut: words that were longer than a row.
        """
        batch = kept.batch
        self._dictionary.add(batch.documents)
        self._unknown.add(batch.documents, encoded)
        self._counts.update(batch.counts)
        self._counts.update(encoded.counts)
        self._counts["words_cut"] += words_cut
        self._samples = first_samples([*self._samples, *kept.samples])
        self._distinct.add(hashes)
        self._returns += _lone_returns(text_buffers(batch.documents)[0])
        for source in kept.sources:
            documents, invalid = self._files.get(source.path, (0, 0))
            self._files[source.path] = (documents + source.documents, invalid + source.invalid)
            self._read += source.documents

    def report(self) -> dict[str, Any]:
        """Fields of `TaskReport`."""
        ends = [*self._files][:1] + [*self._files][-1:]
        return {
            "counts": dict(+self._counts),
            "documents": self._read,
            "samples": list(self._samples),
            "distinct": self._distinct.smallest,
            "unknown_characters": self._unknown.commonest,
            "contradicting": {
                path: counted for path, counted in self._files.items() if counted[1] or path in ends
            },
            "has_dictionary_words": self._dictionary.occur,
            "carriage_returns": self._returns,
        }


def _lone_returns(text: np.ndarray) -> int:
    """Carriage returns (uint8 `[bytes]`) with no line feed behind them."""
    returns = np.flatnonzero(text == 0x0D)
    following = text[np.minimum(returns + 1, len(text) - 1)]
    return int(np.count_nonzero(following != 0x0A))
