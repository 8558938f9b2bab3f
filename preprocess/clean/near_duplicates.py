"""Near duplicates: MinHash over runs of five characters, and an index of them, by datasketch."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from preprocess.clean.duplicates import load_array, save_array
from preprocess.errors import WholewordError

CHARACTERS = 5
"""Length of the pieces whose sets are compared: no words are needed, in any language."""
PERMUTATIONS = 128
_SCHEME = "affine32"
_WEIGHTS = 0.1, 0.9
"""Of what the index finds and what it misses. What it finds is compared, so it costs time alone; by
the library's own (0.5, 0.5) it misses three of ten pairs that have 0.85 in common, at 0.8."""


def load_datasketch() -> Any:
    """The library.

    Raises:
        WholewordError: it is not installed.
    """
    try:
        import datasketch
    except ImportError as error:
        raise WholewordError(
            "--near-dedup: needs datasketch; run `pip install 'wholeword[near-dedup]'`, or "
            "`pip install datasketch`"
        ) from error
    return datasketch


class Signatures:
    """Writes the signatures of one task's documents: `PREFIX-signatures.npy`, and the numbers."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self.files = [folder / f"{prefix}-signatures.npy", folder / f"{prefix}-numbers.npy"]
        """What `close` writes."""
        self._rows: list[np.ndarray] = []
        self._numbers: list[np.ndarray] = []
        self._empty = _empty_signature()

    def add(self, documents: pa.LargeStringArray, numbers: np.ndarray) -> None:
        """Sign documents."""
        for text in documents.to_pylist():
            signature = self._empty.copy()
            signature.update_batch(_pieces(text))
            self._rows.append(signature.hashvalues.astype(np.uint32))
        self._numbers.append(numbers)

    def close(self) -> None:
        """Write them."""
        rows = np.array(self._rows, np.uint32).reshape(-1, PERMUTATIONS)
        save_array(self.files[0], rows)
        save_array(self.files[1], np.concatenate([np.empty(0, np.int64), *self._numbers]))


def find_near_copies(
    files: list[tuple[Path, Path]],
    threshold: float,
    are_copies: Callable[[int, np.ndarray], np.ndarray],
) -> Iterator[np.ndarray]:
    """Documents that are like an earlier one that stays; in the order of the input, on one core.

    Args:
        files: of each task, its signatures and numbers, in the order of the input.
        threshold: the share of common pieces (Jaccard), as MinHash estimates it.
        are_copies: which of a task's numbers are exact copies, so left out already: a function of
            the task's place in `files` and the numbers; bool `[numbers]`.

    Yields:
        int64, ascending numbers: those of each task in turn.
    """
    index = load_datasketch().MinHashLSH(
        threshold, PERMUTATIONS, weights=_WEIGHTS, hashfunc=xxhash.xxh3_64_intdigest
    )
    signature = _empty_signature()
    kept: dict[int, np.ndarray] = {}
    for task, (signatures, numbers) in enumerate(files):
        found = []
        own = np.array(load_array(numbers))
        stay = ~are_copies(task, own)
        rows = load_array(signatures)
        for place in np.flatnonzero(stay):
            values, number = np.array(rows[place]), int(own[place])
            signature.hashvalues = values  # (the index keeps none of it)
            near = (np.count_nonzero(kept[other] == values) for other in index.query(signature))
            if any(equal >= threshold * PERMUTATIONS for equal in near):
                found.append(number)
            else:
                index.insert(number, signature, check_duplication=False)
                kept[number] = values
        yield np.array(found, np.int64)


def _empty_signature() -> Any:
    return load_datasketch().MinHash(PERMUTATIONS, hashfunc=xxhash.xxh32_intdigest, scheme=_SCHEME)


def _pieces(text: str) -> list[bytes]:
    """Every run of `CHARACTERS` characters, each once; a shorter text is one piece."""
    ends = range(CHARACTERS, max(len(text), CHARACTERS) + 1)
    return [piece.encode() for piece in {text[end - CHARACTERS : end] for end in ends}]
