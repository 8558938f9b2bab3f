"""The end of a build: indexes, what the datasets library reads, and the manifest."""

from collections import Counter
from dataclasses import asdict

import pyarrow as pa
import xxhash

from preprocess.errors import WholewordError
from preprocess.files import write_json
from preprocess.format import Part
from preprocess.run.plan import BuildPlan, segmenter_entry, shaping_options
from preprocess.run.state import PartReport, TaskReport
from preprocess.write.hugging_face import dataset_files
from preprocess.write.manifest import InputEntry, Manifest, PartEntry, ShardEntry, TokenizerEntry
from preprocess.write.shards import shard_name, write_index


def finalize_dataset(plan: BuildPlan, reports: list[TaskReport]) -> Manifest:
    """Write all of the dataset except its shards and its manifest; returns the manifest."""
    plan.tokenizer.save(plan.output / "tokenizer")
    parts = {name: _finalize_part(plan, name, reports) for name in plan.parts}
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report.counts)
    manifest = _manifest(plan, parts, counts)
    for file, value in dataset_files(manifest).items():
        write_json(plan.output / file, value)
    return manifest


def _finalize_part(plan: BuildPlan, name: str, reports: list[TaskReport]) -> PartEntry:
    folder = plan.output / name
    total = len(plan.tasks)
    tables = [_load_index(plan, report, name) for report in reports]
    parts = [report.parts[name] for report in reports]
    shards = tuple(
        ShardEntry(
            file=f"{name}/{shard_name(report.number, total)}",
            **part.model_dump(include={"rows", "tokens", "words", "bytes", "xxh3_128"}),
        )
        for report, part in zip(reports, parts, strict=True)
    )
    digest = write_index(folder / "index.arrow", tables)
    return PartEntry(
        **{key: sum(getattr(p, key) for p in parts) for key in PartReport.TOTALS},
        batches=sum(table.num_rows for table in tables),
        index_xxh3_128=digest,
        length_histogram=_add_histograms(parts),
        shards=shards,
    )


def _load_index(plan: BuildPlan, report: TaskReport, name: str) -> pa.Table:
    table = report.load_index(plan.output, name)
    if table is None:
        raise WholewordError(
            f"{plan.output}: the index of task {report.number} is damaged; run the same command "
            "again"
        )
    return table


def _add_histograms(parts: list[PartReport]) -> dict[int, int]:
    total: Counter[int] = Counter()
    for part in parts:
        total.update(part.length_histogram)
    return dict(sorted(total.items()))


def _manifest(plan: BuildPlan, parts: dict[Part, PartEntry], counts: Counter[str]) -> Manifest:
    tokenizer = plan.tokenizer
    return Manifest(
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
        inputs=tuple(
            InputEntry(path=f.path, bytes=f.bytes, part=f.part, encoding=f.encoding)
            for f in plan.files
        ),
        counts=dict(sorted(counts.items())),
        parts=parts,
    )
