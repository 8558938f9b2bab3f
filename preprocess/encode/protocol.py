"""What every encoder takes and returns."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa

from preprocess.encode.segmenters import SegmenterSpec


@dataclass(frozen=True)
class EncodedDocuments:
    """A batch of documents as four flat arrays."""

    ids: np.ndarray
    """uint16 (vocabularies up to 65,536 entries) or uint32, `[tokens]`."""
    word_starts: np.ndarray
    """bool `[tokens]`; true at the first token of a document and of each sentence too."""
    sentence_starts: np.ndarray
    """bool `[tokens]`; true at the first token of a document."""
    offsets: np.ndarray
    """int64 `[documents + 1]`, where each document's tokens begin and end."""
    counts: dict[str, int] = field(default_factory=dict)
    """What was repaired, by reason."""


class Encoder(Protocol):
    """Documents in, tokens with word boundaries out."""

    def encode(self, documents: pa.LargeStringArray) -> EncodedDocuments:
        """Encode each document whole, in order."""
        ...


@dataclass(frozen=True)
class EncoderSpec:
    """All that a worker needs to make its encoder."""

    tokenizer_json: str
    segmenter: SegmenterSpec
    kind: str
    """`compiled`, `library` or `reference`."""
