"""What the shard format fixes: its parts, the longest row, the type of ids (docs/format.md)."""

from typing import Literal

import numpy as np

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
MAX_LENGTH = 65_535
"""Longest row, so that lengths are uint16."""
HISTOGRAM_BINS = 16
"""Classes of row lengths that the manifest counts."""
BATCH_ROWS = 4096
"""Rows in every record batch but a shard's last."""


def id_dtype(vocab_size: int) -> np.dtype:
    """The smallest type of `input_ids`, uint16 or uint32, that holds every id of a vocabulary."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)
