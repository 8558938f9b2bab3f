"""The end of a build: indexes, what the datasets library reads, and the manifest."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import xxhash

from preprocess.encoders import id_dtype
from preprocess.errors import WholewordError
from preprocess.manifest import InputEntry, Manifest, Part, PartEntry, ShardEntry, TokenizerEntry
from preprocess.plan import Plan, segmenter_entry, shaping_options
from preprocess.shards import shard_name, write_index, write_json
from preprocess.state import PartReport, TaskReport


def finish_dataset(plan: Plan, reports: list[TaskReport]) -> Manifest:
    """Write everything of the dataset but its shards and its manifest, which is returned."""
    plan.tokenizer.save(plan.output / "tokenizer")
    parts = {name: _finish_part(plan, name, reports) for name in plan.parts}
    write_json(plan.output / "dataset_dict.json", {"splits": list(plan.parts)})
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report.counts)
    return _manifest(plan, parts, counts)


def _finish_part(plan: Plan, name: str, reports: list[TaskReport]) -> PartEntry:
    folder = plan.output / name
    total = len(plan.tasks)
    tables = [_load_index(plan, report.number, name) for report in reports]
    parts = [report.parts[name] for report in reports]
    shards = tuple(
        ShardEntry(
            file=f"{name}/{shard_name(report.number, total)}",
            **part.model_dump(include={"rows", "tokens", "words", "bytes", "xxh3_128"}),
        )
        for report, part in zip(reports, parts, strict=True)
    )
    digest = write_index(folder / "index.arrow", tables)
    _write_dataset_files(folder, name, shards, plan.tokenizer.vocab_size)
    return PartEntry(
        **{key: sum(getattr(p, key) for p in parts) for key in PartReport.TOTALS},
        batches=sum(table.num_rows for table in tables),
        index_xxh3_128=digest,
        length_histogram=_add_histograms(parts),
        shards=shards,
    )


def _load_index(plan: Plan, number: int, name: str) -> pa.Table:
    table = TaskReport.load_index(plan.output, number, name)
    if table is None:
        raise WholewordError(
            f"{plan.output}: the index of task {number} is damaged; run the same command again"
        )
    return table


def _add_histograms(parts: list[PartReport]) -> dict[int, int]:
    total: Counter[int] = Counter()
    for part in parts:
        total.update(part.length_histogram)
    return dict(sorted(total.items()))


def _write_dataset_files(
    folder: Path, name: str, shards: tuple[ShardEntry, ...], vocab_size: int
) -> None:
    """What `datasets.load_from_disk` reads of a part besides its shards."""
    ids = {"dtype": id_dtype(vocab_size).name, "_type": "Value"}
    flags = {"dtype": "bool", "_type": "Value"}
    features = {
        "input_ids": {"feature": ids, "_type": "List"},
        "word_starts": {"feature": flags, "_type": "List"},
        "sentence_starts": {"feature": flags, "_type": "List"},
        "document": {"dtype": "int64", "_type": "Value"},
    }
    fingerprint = xxhash.xxh3_64_hexdigest("".join(shard.xxh3_128 for shard in shards).encode())
    state: dict[str, object] = {
        "_data_files": [{"filename": Path(shard.file).name} for shard in shards],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": name,
    }
    write_json(folder / "dataset_info.json", {"features": features})
    write_json(folder / "state.json", state)


def _manifest(plan: Plan, parts: dict[Part, PartEntry], counts: Counter[str]) -> Manifest:
    tokenizer = plan.tokenizer
    return Manifest(
        format=1,
        tokenizer=TokenizerEntry(
            sha256=tokenizer.sha256,
            kind=tokenizer.kind,
            vocab_size=tokenizer.vocab_size,
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
