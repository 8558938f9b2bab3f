"""The documents of a task, read and cleaned: what the search for copies and the build both see."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from preprocess.clean.cleaner import Cleaner, Kept, Rules, choose_documents
from preprocess.errors import WholewordError
from preprocess.read.batches import DocumentBatch
from preprocess.read.buffers import text_buffers
from preprocess.read.cutting import plan_tasks
from preprocess.read.documents import read_task
from preprocess.read.sources import InputFile, ReadOptions, Task

SAMPLED_FILES = 8
SAMPLED_SPLITS = 8
PIECE_BYTES = 128 << 10
"""What slow work takes at a time, so that progress is seen."""


@dataclass(frozen=True)
class ReadSpec:
    """How input becomes documents that stay, as plain data that is sent to workers."""

    options: ReadOptions
    rules: Rules
    slow: bool
    """Whether what is done with documents takes long: then they come in smaller batches."""


class TaskDocuments:
    """Reads and cleans tasks; created once per worker, because it loads the user's function."""

    def __init__(self, spec: ReadSpec) -> None:
        """Load what the rules name.

        Raises:
            WholewordError: it cannot be loaded.
        """
        self._spec = spec
        self._clean = Cleaner(spec.rules)

    def __call__(self, task: Task) -> Iterator[Kept]:
        """What cleaning leaves of the task's documents, in order; numbers are those of the dataset.

        Raises:
            WholewordError: the input cannot be read, or the user's function failed.
        """
        number = task.first_document
        for batch in read_task(task, self._spec.options):
            sources = batch.sources
            for piece in _in_pieces(batch) if self._spec.slow else (batch,):
                yield self._clean(piece, number, sources)
                number += len(piece.documents)
                sources = ()


def sample_texts(files: list[InputFile], options: ReadOptions) -> list[str]:
    """The beginnings of some documents of some files, from all over each; few megabytes are read.

    What cannot be read is passed over: the task that reads it will say so.
    """
    some = files[:: -(-len(files) // SAMPLED_FILES)]
    split_size = max(max(file.bytes for file in some) // 4, 1 << 20)
    texts: list[str] = []
    with contextlib.suppress(WholewordError):
        tasks = plan_tasks(some, options.separator, split_size)
        splits = [split for task in tasks for split in task.splits]
        for split in splits[:: -(-len(splits) // SAMPLED_SPLITS)]:
            with contextlib.suppress(WholewordError):
                for batch in itertools.islice(read_task(Task(0, (split,)), options), 1):
                    places = range(0, len(batch.documents), len(batch.documents) // 50 + 1)
                    texts += [batch.documents[place].as_py()[:1000] for place in places]
    return texts


def _in_pieces(batch: DocumentBatch) -> Iterator[DocumentBatch]:
    """Consecutive documents of about `PIECE_BYTES`; the counts go with the first."""
    if len(batch.documents) < 2:
        yield batch
        return
    _, offsets = text_buffers(batch.documents)
    marks = np.arange(offsets[0] + PIECE_BYTES, offsets[-1], PIECE_BYTES)
    cuts = np.unique([0, *np.searchsorted(offsets, marks), len(batch.documents)]).tolist()
    size, left = int(offsets[-1] - offsets[0]), batch.bytes_read
    for begin, end in pairwise(cuts):
        share = batch.bytes_read * int(offsets[end] - offsets[begin]) // size
        left -= share
        chosen = np.zeros(len(batch.documents), np.bool_)
        chosen[begin:end] = True
        yield replace(
            choose_documents(batch, chosen),
            bytes_read=share if end < len(batch.documents) else share + left,
            counts={} if begin else batch.counts,
        )
