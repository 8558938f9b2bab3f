"""One task: documents of some splits -> encoded documents -> rows -> one shard of each part."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from preprocess.clean.cleaner import Kept
from preprocess.clean.holdout import Holdout
from preprocess.encode.audit import Auditor
from preprocess.encode.encoders import make_encoder
from preprocess.encode.protocol import EncodedDocuments, EncoderSpec
from preprocess.format import HISTOGRAM_BINS
from preprocess.places import place
from preprocess.read.batches import DocumentBatch
from preprocess.read.buffers import text_buffers
from preprocess.read.sources import Task
from preprocess.run.dedup import Copies, DedupSpec
from preprocess.run.events import TaskProgress
from preprocess.run.findings import Findings
from preprocess.run.state import PartReport, TaskReport, writing
from preprocess.run.task_documents import ReadSpec, TaskDocuments
from preprocess.write.rows import cut_rows, gather_rows
from preprocess.write.shards import Rows, ShardWriter, shard_name, shard_schema
from preprocess.write.xxh3 import hash_documents


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
    reading: ReadSpec
    dedup: DedupSpec
    validation_fraction: float
    copies: dict[int, int]
    """How many copies of held-out texts the beginning of the first task has (`Holdout`)."""
    first_task: int
    """The first task of this build; others before it were built earlier."""


class TaskRun:
    """Runs tasks; created once per worker, because an encoder takes time to load."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._documents = TaskDocuments(spec.reading)
        self._encoder = make_encoder(spec.encoder)
        self._auditor = Auditor(spec.encoder, spec.audit)
        self._findings = Findings(spec.encoder, spec.unk_id)

    def __call__(self, task: Task) -> Iterator[TaskProgress | TaskReport]:
        """Write the task's shards; yields progress, then the report."""
        with writing(place(self._spec.output)):
            yield from self._run(task)

    def _run(self, task: Task) -> Iterator[TaskProgress | TaskReport]:
        spec = self._spec
        holdout = Holdout(
            spec.validation_fraction if task.part == "train" else 0,
            spec.copies if task.number == spec.first_task else {},
        )
        repeated = Copies(place(spec.output), spec.dedup, task)
        self._findings.begin_task()
        encoded_before = 0
        with ExitStack() as stack:
            writers = {
                part: stack.enter_context(_PartWriter(spec, task.number, part))
                for part in spec.parts
            }
            for kept in self._documents(task):
                kept = repeated.leave_out(kept)
                hashes = hash_documents(*text_buffers(kept.batch.documents))
                kept, held = holdout(kept, hashes)
                encoded = self._encode(kept.batch)
                audit = self._auditor.check(kept.batch, encoded, encoded_before)
                encoded_before += len(kept.batch.documents)
                words_cut = _write(spec, task, kept, held, encoded, writers)
                self._findings.add(kept, hashes, encoded, words_cut)
                tokens = len(encoded.ids)
                yield TaskProgress(kept.batch.bytes_read, tokens, audit)
        report = TaskReport(
            number=task.number,
            parts={part: writer.report for part, writer in writers.items()},
            copies=holdout.copies if task.number == spec.tasks - 1 else {},
            **self._findings.report(),
        )
        report.save(
            place(spec.output), {part: writer.shard.index for part, writer in writers.items()}
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
        path = place(spec.output) / part / shard_name(number, spec.tasks)
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
    kept: Kept,
    held: np.ndarray,
    encoded: EncodedDocuments,
    writers: dict[str, _PartWriter],
) -> int:
    """Cut rows and hand each to its part; returns the number of words that were cut."""
    word_starts = encoded.word_starts
    offsets, documents, words_cut = cut_rows(
        word_starts, encoded.sentence_starts, encoded.offsets, spec.max_tokens
    )
    rows = Rows(encoded.ids, word_starts, encoded.sentence_starts, offsets, kept.numbers[documents])
    held_out = held[documents]
    if not held_out.any():
        writers[task.part].write(rows)
    else:
        writers["train"].write(_choose(rows, np.flatnonzero(~held_out)))
        writers["validation"].write(_choose(rows, np.flatnonzero(held_out)))
    return words_cut


def _choose(rows: Rows, chosen: np.ndarray) -> Rows:
    lengths = np.diff(rows.offsets)[chosen]
    return Rows(
        gather_rows(rows.ids, rows.offsets, chosen),
        gather_rows(rows.word_starts, rows.offsets, chosen),
        gather_rows(rows.sentence_starts, rows.offsets, chosen),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        rows.documents[chosen],
    )
