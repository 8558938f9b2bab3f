"""The end of a build: indexes, what the datasets library reads, and the manifest."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import xxhash

from preprocess.errors import WholewordError
from preprocess.manifest import InputEntry, Manifest, Part, PartEntry, ShardEntry, TokenizerEntry
from preprocess.plan import Plan, segmenter_entry, shaping_options
from preprocess.shards import shard_name, write_index, write_json
from preprocess.state import PartReport, TaskReport


def finish_dataset(plan: Plan, reports: list[TaskReport]) -> Manifest:
    """Write everything of the dataset but its shards and its manifest, which is returned."""
    plan.tokenizer.save(plan.output / "tokenizer")
    parts = {name: _finish_part(plan, name, reports) for name in plan.parts}
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report.counts)
    manifest = _manifest(plan, parts, counts)
    for file, value in dataset_files(manifest).items():
        write_json(plan.output / file, value)
    return manifest


def _finish_part(plan: Plan, name: str, reports: list[TaskReport]) -> PartEntry:
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


def _load_index(plan: Plan, report: TaskReport, name: str) -> pa.Table:
    table = report.load_index(plan.output, name)
    if table is None:
        raise WholewordError(
            f"{plan.output}: the index of task {report.number} is damaged; run the same command again"
        )
    return table


def _add_histograms(parts: list[PartReport]) -> dict[int, int]:
    total: Counter[int] = Counter()
    for part in parts:
        total.update(part.length_histogram)
    return dict(sorted(total.items()))


def dataset_files(manifest: Manifest) -> dict[str, object]:
    """What `datasets.load_from_disk` reads besides shards: JSON values by file."""
    files: dict[str, object] = {"dataset_dict.json": {"splits": list(manifest.parts)}}
    flags = {"dtype": "bool", "_type": "Value"}
    features = {
        "input_ids": {
            "feature": {"dtype": manifest.id_dtype.name, "_type": "Value"},
            "_type": "List",
        },
        "word_starts": {"feature": flags, "_type": "List"},
        "sentence_starts": {"feature": flags, "_type": "List"},
        "document": {"dtype": "int64", "_type": "Value"},
    }
    for name, part in manifest.parts.items():
        files[f"{name}/dataset_info.json"] = {"features": features}
        files[f"{name}/state.json"] = _dataset_state(name, part.shards)
    return files


def _dataset_state(name: str, shards: tuple[ShardEntry, ...]) -> dict[str, object]:
    fingerprint = xxhash.xxh3_64_hexdigest("".join(shard.xxh3_128 for shard in shards).encode())
    return {
        "_data_files": [{"filename": Path(shard.file).name} for shard in shards],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": name,
    }


def _manifest(plan: Plan, parts: dict[Part, PartEntry], counts: Counter[str]) -> Manifest:
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
        inputs=tuple(InputEntry(path=f.path, bytes=f.bytes, part=f.part) for f in plan.files),
        counts=dict(sorted(counts.items())),
        parts=parts,
    )
