"""The end of a build: indexes, what the datasets library reads, and the manifest."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pyarrow as pa
import xxhash

from preprocess.arrays import arrow_array, numpy_values
from preprocess.clean.distinct import DistinctTexts
from preprocess.clean.samples import Sample, first_samples
from preprocess.errors import WholewordError
from preprocess.files import write_json
from preprocess.format import Part
from preprocess.run.append import Tail
from preprocess.run.plan import BuildPlan, segmenter_entry, shaping_options
from preprocess.run.signs import warning_signs
from preprocess.run.state import PartReport, TaskReport
from preprocess.write.hugging_face import dataset_files
from preprocess.write.manifest import (
    DroppedSample,
    Generation,
    InputEntry,
    Manifest,
    PartEntry,
    ShardEntry,
    TokenizerEntry,
)
from preprocess.write.shards import (
    INDEX_SCHEMA,
    batches_checksum,
    index_bytes,
    lengths_checksum,
    shard_name,
    write_index,
)

MOST_UNKNOWN = 10
"""Unknown characters that the manifest names."""


def finalize_dataset(plan: BuildPlan, reports: list[TaskReport]) -> Manifest:
    """Write all of the dataset except its shards and its manifest; returns the manifest."""
    plan.tokenizer.save(plan.output / "tokenizer")
    parts = {name: _finalize_part(plan, name, reports) for name in plan.parts}
    manifest = _manifest(plan, parts, reports)
    for file, value in dataset_files(manifest).items():
        write_json(plan.output / file, value, shared=True)
    return manifest


def make_tail(plan: BuildPlan, reports: list[TaskReport]) -> Tail:
    """Where the dataset ends, for more text later."""
    last, report = plan.tasks[-1], reports[-1]
    before = plan.base.tail if plan.base and plan.goes_on and len(plan.tasks) == 1 else None
    return Tail(
        split_size=plan.split_size,
        part=last.part,
        task=last.first_document >> 32,
        bytes=last.bytes + (before.bytes if before else 0),
        documents=report.documents + (before.documents if before else 0),
        copies=report.copies,
        distinct=_distinct(plan, reports).smallest,
    )


def _distinct(plan: BuildPlan, reports: list[TaskReport]) -> DistinctTexts:
    distinct = DistinctTexts(plan.base.tail.distinct if plan.base else [])
    for report in reports:
        distinct.add(np.array(report.distinct, np.uint64))
    return distinct


def _finalize_part(plan: BuildPlan, name: Part, reports: list[TaskReport]) -> PartEntry:
    base = plan.base.manifest.parts[name] if plan.base else None
    parts = [report.parts[name] for report in reports]
    lengths: list[str] = []
    numbers: list[pa.Table] = []

    def tables() -> Iterator[pa.Table]:
        earlier = _base_index(plan, name, base) if base else []
        own = (_load_index(plan, report, name) for report in reports)
        for table in itertools.chain(earlier, own):
            few = table.drop_columns(["lengths"])
            rows = arrow_array(np.arange(len(few)))
            numbers.append(few.take(rows))  # a copy, so that the lengths may go
            lengths.append(lengths_checksum(table))
            yield table

    digest = write_index(plan.output / name / "index.arrow", tables())
    shards = tuple(
        ShardEntry(
            file=f"{name}/{shard_name(report.number, plan.total)}",
            lengths_xxh3_64=checksum,
            **part.model_dump(include={"rows", "tokens", "words", "bytes", "xxh3_128"}),
        )
        for report, part, checksum in zip(reports, parts, lengths[-len(parts) :], strict=True)
    )
    return PartEntry(
        **{
            key: sum(getattr(p, key) for p in (*([base] if base else []), *parts))
            for key in PartReport.TOTALS
        },
        batches=sum(table.num_rows for table in numbers),
        index_xxh3_128=digest,
        batches_xxh3_128=batches_checksum(numbers),
        length_histogram=_add_histograms([*([base] if base else []), *parts]),
        shards=(*(base.shards if base else ()), *shards),
    )


def _base_index(plan: BuildPlan, name: str, base: PartEntry) -> list[pa.Table]:
    """The index of the dataset that is added to, a table for each shard.

    A build that was killed here before may have put more behind it.
    """
    path = plan.output / name / "index.arrow"
    try:
        whole = pa.ipc.open_file(path.read_bytes()).read_all().slice(0, base.batches)
    except (OSError, pa.ArrowInvalid):
        whole = INDEX_SCHEMA.empty_table()
    numbers = numpy_values(whole["shard"])
    bounds = np.searchsorted(numbers, np.arange(len(base.shards) + 1)).tolist()
    tables = [whole.slice(begin, end - begin) for begin, end in pairwise(bounds)]
    if xxhash.xxh3_128_hexdigest(index_bytes(tables)) != base.index_xxh3_128:
        raise WholewordError(
            f"{path}: differs from what the manifest says; run `python -m preprocess verify "
            f"--reindex --data {plan.output}`, and then the same command again"
        )
    return tables


def _load_index(plan: BuildPlan, report: TaskReport, name: str) -> pa.Table:
    table = report.load_index(plan.output, name)
    if table is None:
        raise WholewordError(
            f"{plan.output}: the index of task {report.number} is damaged; run the same command "
            "again"
        )
    return table


def _add_histograms(parts: Sequence[PartReport | PartEntry]) -> dict[int, int]:
    total: Counter[int] = Counter()
    for part in parts:
        total.update(part.length_histogram)
    return dict(sorted(total.items()))


def _manifest(plan: BuildPlan, parts: dict[Part, PartEntry], reports: list[TaskReport]) -> Manifest:
    tokenizer = plan.tokenizer
    base = plan.base.manifest if plan.base else None
    counts: Counter[str] = Counter(base.counts if base else {})
    samples = [Sample(**sample.model_dump()) for sample in base.dropped] if base else []
    unknown = Counter(base.unknown_characters if base else {})
    for report in reports:
        counts.update(report.counts)
        samples = list(first_samples([*samples, *report.samples]))
        unknown.update(report.unknown_characters)
    commonest = sorted(unknown.items(), key=lambda item: (-item[1], item[0]))[:MOST_UNKNOWN]
    inputs = tuple(
        InputEntry(path=f.path, bytes=f.bytes, part=f.part, encoding=f.encoding) for f in plan.files
    )
    generations = base.generations or (_first_generation(base),) if base else ()
    added = Generation(
        inputs=len(inputs),
        shards=len(reports),
        index_xxh3_128=parts["train"].index_xxh3_128,
    )
    distinct = _distinct(plan, reports)
    manifest = Manifest(
        format=1,
        tokenizer=TokenizerEntry(
            sha256=tokenizer.sha256,
            kind=tokenizer.kind,
            vocab_size=tokenizer.vocab_size,
            files={name: xxhash.xxh3_128_hexdigest(data) for name, data in tokenizer.files.items()},
            **asdict(tokenizer.special),
        ),
        segmenter=segmenter_entry(plan.segmenter),
        max_length=plan.options.max_length,
        pairs=plan.options.pairs,
        options=shaping_options(plan.options),
        inputs=(*(base.inputs if base else ()), *inputs),
        counts=dict(sorted(counts.items())),
        dropped=tuple(DroppedSample(**asdict(sample)) for sample in samples),
        distinct_texts=distinct.count(),
        unknown_characters=dict(commonest),
        generations=(*generations, added),
        parts=parts,
    )
    signs = warning_signs(plan, manifest, distinct, reports)
    return manifest.model_copy(update={"warnings": tuple(signs)})


def _first_generation(base: Manifest) -> Generation:
    shards = max(len(part.shards) for part in base.parts.values())
    index = base.parts["train"].index_xxh3_128
    return Generation(inputs=len(base.inputs), shards=shards, index_xxh3_128=index)
