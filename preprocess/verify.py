"""`verify`: the manifest against the files."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash

from preprocess.addresses import AddressError
from preprocess.errors import WholewordError
from preprocess.files import map_file
from preprocess.format import BATCH_ROWS
from preprocess.places import is_remote
from preprocess.run.state import writing
from preprocess.sigbus import report_truncation
from preprocess.write.hugging_face import dataset_files
from preprocess.write.manifest import Manifest, PartEntry, ShardEntry, read_manifest, write_manifest
from preprocess.write.shards import INDEX_SCHEMA, index_table, scan_shard, shard_schema, write_index


def verify_dataset(folder: Path) -> Iterator[str]:
    """Check every file of a dataset; yields the name of each one that matches.

    Raises:
        WholewordError: at the first file that is wrong, naming it and what is wrong.
    """
    manifest = read_manifest(folder)
    if not is_remote(folder):
        report_truncation(folder)
    for name, part in manifest.parts.items():
        tables = []
        for number, shard in enumerate(part.shards):
            tables.append(_verify_shard(folder, manifest, shard, number))
            yield shard.file
        _verify_totals(folder, name, part, tables)
        yield f"{name}/index.arrow"
    for file, value in dataset_files(manifest).items():
        _verify_dataset_file(folder / file, value)
        yield file
    for file, checksum in manifest.tokenizer.files.items():
        if xxhash.xxh3_128_hexdigest(_read(folder / "tokenizer" / file)) != checksum:
            raise _wrong(folder / "tokenizer" / file, "its checksum differs from the manifest's")
        yield f"tokenizer/{file}"


def reindex(folder: Path) -> None:
    """Rebuild every `index.arrow` from the shards, which must match the manifest.

    Raises:
        WholewordError: a shard does not match.
    """
    manifest = read_manifest(folder)
    parts = {}
    for name, part in manifest.parts.items():
        tables = [
            _verify_shard(folder, manifest, shard, number)
            for number, shard in enumerate(part.shards)
        ]
        with writing(folder):
            digest = write_index(folder / name / "index.arrow", tables)
        parts[name] = part.model_copy(update={"index_xxh3_128": digest})
    with writing(folder):
        write_manifest(folder, manifest.model_copy(update={"parts": parts}))


def _verify_shard(folder: Path, manifest: Manifest, shard: ShardEntry, number: int) -> pa.Table:
    """The shard's rows of the index, after everything about it was checked."""
    path = folder / shard.file
    data = _map(path, shard)
    if xxhash.xxh3_128_hexdigest(data) != shard.xxh3_128:
        raise _wrong(path, "its checksum differs from the manifest's")
    entries = []
    rows = tokens = words = 0
    try:
        schema = pa.ipc.read_schema(pa.BufferReader(data))
        if schema != shard_schema(manifest.id_dtype):
            raise _wrong(path, "its columns are not those of a shard")
        for entry, batch in scan_shard(data, number):
            if rows % BATCH_ROWS:
                raise _wrong(
                    path, f"a record batch before its last does not have {BATCH_ROWS} rows"
                )
            _verify_batch(path, manifest, batch)
            entries.append(entry)
            rows += batch.num_rows
            tokens += len(batch.column("input_ids").flatten())
            words += batch.column("word_starts").flatten().true_count
    except (pa.ArrowInvalid, OSError) as error:
        raise _wrong(path, f"it cannot be read ({error})") from error
    if (rows, tokens, words) != (shard.rows, shard.tokens, shard.words):
        raise _wrong(path, "its counts of rows, tokens or words differ from the manifest's")
    return index_table(entries)


def _verify_dataset_file(path: Path, expected: object) -> None:
    try:
        found = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"it cannot be read ({error})") from error
    if found != expected:
        raise _wrong(path, "it does not describe these shards")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise _wrong(path, "it is missing") from error
    except AddressError:
        raise
    except OSError as error:
        raise _wrong(path, f"it cannot be read ({error.strerror or error})") from error


def _map(path: Path, shard: ShardEntry) -> pa.Buffer:
    try:
        data = map_file(path)
    except FileNotFoundError as error:
        raise _wrong(path, "it is missing") from error
    except AddressError:
        raise
    except OSError as error:
        raise _wrong(path, f"it cannot be read ({error.strerror or error})") from error
    if data.size != shard.bytes:
        raise _wrong(path, f"it has {data.size:,} bytes, the manifest says {shard.bytes:,}")
    return data


def _verify_batch(path: Path, manifest: Manifest, batch: pa.RecordBatch) -> None:
    batch.validate(full=True)
    if not batch.num_rows:
        raise _wrong(path, "it has a record batch without rows")
    lengths = [np.diff(batch.column(i).offsets.to_numpy()) for i in range(3)]
    if any(not np.array_equal(lengths[0], other) for other in lengths[1:]):
        raise _wrong(path, "its columns have rows of different lengths")
    if lengths[0].min() < 1 or lengths[0].max() > manifest.max_row_tokens:
        raise _wrong(path, "it has an empty row, or one longer than --max-length")
    firsts = batch.column("input_ids").offsets.to_numpy()[:-1]
    if not batch.column("word_starts").values.to_numpy(zero_copy_only=False)[firsts].all():
        raise _wrong(path, "it has a row that does not start a word")
    if batch.column("input_ids").flatten().to_numpy().max() >= manifest.tokenizer.vocab_size:
        raise _wrong(path, "it has an id that the tokenizer does not have")


def _verify_totals(folder: Path, name: str, part: PartEntry, tables: list[pa.Table]) -> None:
    path = folder / name / "index.arrow"
    remedy = "run `python -m preprocess verify --reindex`"
    try:
        content = path.read_bytes()
        digest = xxhash.xxh3_128_hexdigest(content)
        found = pa.ipc.open_file(content).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise WholewordError(f"{path}: cannot be read ({error}); {remedy}") from error
    wanted = pa.concat_tables(tables) if tables else INDEX_SCHEMA.empty_table()
    if digest != part.index_xxh3_128 or not found.equals(wanted):
        raise WholewordError(f"{path}: is not the index of these shards; {remedy}")


def _wrong(path: Path, problem: str) -> WholewordError:
    return WholewordError(f"{path}: {problem}; build the shards again with --overwrite")
