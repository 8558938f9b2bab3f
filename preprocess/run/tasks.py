"""One task: documents of some splits -> encoded documents -> rows -> one shard of each part."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.encode.audit import Auditor
from preprocess.encode.encoders import make_encoder
from preprocess.encode.protocol import EncodedDocuments, EncoderSpec
from preprocess.read.batches import DocumentBatch, Source
from preprocess.read.documents import read_task
from preprocess.read.sources import ReadOptions, Task
from preprocess.run.state import PartReport, TaskReport, writing
from preprocess.write.rows import cut_rows, gather_rows
from preprocess.write.shards import Rows, ShardWriter, shard_name, shard_schema
from preprocess.write.xxh3 import hash_documents

HISTOGRAM_BINS = 16


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker must know about the build, as plain data."""

    output: str
    encoder: EncoderSpec
    audit: int
    id_dtype: str
    unk_id: int | None
    parts: tuple[str, ...]
    tasks: int
    """Number of tasks of the whole build: it is in the shards' names."""
    max_tokens: int
    """Tokens of the longest row, special tokens not counted."""
    reading: ReadOptions
    validation_fraction: float


@dataclass(frozen=True)
class TaskProgress:
    """Work done since the last event."""

    bytes: int
    tokens: int
    audit: dict[str, int] = field(default_factory=dict)
    """Documents that the audit compared or skipped; not in the report, for it must not shape the
    output."""
    sources: tuple[Source, ...] = ()
    """The files that were read."""


class TaskRun:
    """Runs tasks; created once per worker, because an encoder takes time to load."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._encoder = make_encoder(spec.encoder)
        self._auditor = Auditor(spec.encoder, spec.audit)

    def __call__(self, task: Task) -> Iterator[TaskProgress | TaskReport]:
        """Write the task's shards; yields progress, then the report."""
        with writing(Path(self._spec.output)):
            yield from self._run(task)

    def _run(self, task: Task) -> Iterator[TaskProgress | TaskReport]:
        spec = self._spec
        counts: Counter[str] = Counter()
        documents = 0
        with ExitStack() as stack:
            writers = {
                part: stack.enter_context(_PartWriter(spec, task.number, part))
                for part in spec.parts
            }
            for batch in read_task(task, spec.reading):
                counts.update(batch.counts)
                encoded = self._encode(batch)
                counts.update(encoded.counts)
                audit = self._auditor.check(batch, encoded, documents)
                first = (task.number << 32) + documents
                counts["words_cut"] += _write(spec, task, batch, encoded, first, writers)
                documents += len(batch.documents)
                yield TaskProgress(batch.bytes_read, len(encoded.ids), audit, batch.sources)
        report = TaskReport(
            number=task.number,
            parts={part: writer.report for part, writer in writers.items()},
            counts=dict(+counts),
        )
        report.save(
            Path(spec.output), {part: writer.shard.index for part, writer in writers.items()}
        )
        yield report

    def _encode(self, batch: DocumentBatch) -> EncodedDocuments:
        try:
            return self._encoder.encode(batch.documents)
        except Exception as error:  # a defect: its traceback must say which text showed it
            (path, first), (last_path, last) = batch.place(0), batch.place(-1)
            error.add_note(f"in the documents from {path}, {first}, to {last_path}, {last}")
            raise


class _PartWriter:
    """One shard, and the counts that need its rows."""

    def __init__(self, spec: WorkerSpec, number: int, part: str) -> None:
        path = Path(spec.output) / part / shard_name(number, spec.tasks)
        self.shard = ShardWriter(path, number, shard_schema(np.dtype(spec.id_dtype)))
        self.report = PartReport()
        self._unk_id = spec.unk_id
        self._bin_width = -(-spec.max_tokens // HISTOGRAM_BINS)

    def __enter__(self) -> "_PartWriter":
        self.shard.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.shard.__exit__(*exception)
        for figure in ("rows", "tokens", "words", "bytes", "xxh3_128"):
            setattr(self.report, figure, getattr(self.shard, figure))

    def write(self, rows: Rows) -> None:
        """Append rows and count them."""
        if not len(rows):
            return
        self.shard.write(rows)
        self.report.documents += 1 + int(np.count_nonzero(np.diff(rows.documents)))
        if self._unk_id is not None:
            self.report.unknown += int(np.count_nonzero(rows.ids == self._unk_id))
        bins = np.bincount((np.diff(rows.offsets) - 1) // self._bin_width)
        histogram = self.report.length_histogram
        for number in np.flatnonzero(bins):
            lowest = int(number) * self._bin_width + 1
            histogram[lowest] = histogram.get(lowest, 0) + int(bins[number])


def _write(
    spec: WorkerSpec,
    task: Task,
    batch: DocumentBatch,
    encoded: EncodedDocuments,
    first_document: int,
    writers: dict[str, _PartWriter],
) -> int:
    """Cut rows and hand each to its part; returns the number of words that were cut."""
    word_starts = encoded.word_starts
    offsets, documents, words_cut = cut_rows(
        word_starts, encoded.sentence_starts, encoded.offsets, spec.max_tokens
    )
    rows = Rows(
        encoded.ids, word_starts, encoded.sentence_starts, offsets, documents + first_document
    )
    if task.part != "train" or spec.validation_fraction == 0:
        writers[task.part].write(rows)
        return words_cut
    held_out = _held_out(batch, spec.validation_fraction)[documents]
    if not held_out.any():
        writers["train"].write(rows)
    else:
        writers["train"].write(_choose(rows, np.flatnonzero(~held_out)))
        writers["validation"].write(_choose(rows, np.flatnonzero(held_out)))
    return words_cut


def _held_out(batch: DocumentBatch, fraction: float) -> np.ndarray:
    """Bool `[documents]`: whether xxh3-64 of the text falls into the lowest `fraction`."""
    _, offsets, text = batch.documents.buffers()
    data = np.frombuffer(text, np.uint8) if text else np.zeros(1, np.uint8)
    hashes = hash_documents(data, np.frombuffer(offsets, np.int64))
    return hashes < np.uint64(int(fraction * 2**64))


def _choose(rows: Rows, chosen: np.ndarray) -> Rows:
    lengths = np.diff(rows.offsets)[chosen]
    return Rows(
        gather_rows(rows.ids, rows.offsets, chosen),
        gather_rows(rows.word_starts, rows.offsets, chosen),
        gather_rows(rows.sentence_starts, rows.offsets, chosen),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        rows.documents[chosen],
    )
