"""Shards and indexes with right checksums that make no sense: refused when they are opened."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from preprocess.errors import WholewordError
from preprocess.write.manifest import read_manifest, write_manifest
from preprocess.write.shards import INDEX_SCHEMA, Rows, shard_schema, write_index
from tests.train.shard_factory import (
    ShardSpec,
    make_part,
    make_shards,
    memory_manifest,
    random_rows,
)
from train.data.shard_dataset import ShardDataset

SPEC = ShardSpec(rows=(60, 30), max_length=32, vocab_size=300)


def index_of(folder):
    with pa.OSFile(str(folder / "train" / "index.arrow")) as source:
        return pa.ipc.open_file(source).read_all()


def with_index(folder, **columns):
    """Write another index, and its checksum into the manifest."""
    table = index_of(folder)
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(values, INDEX_SCHEMA.field(name).type))
    digest = write_index(folder / "train" / "index.arrow", [table])
    manifest = read_manifest(folder)
    part = manifest.parts["train"].model_copy(update={"index_xxh3_128": digest})
    parts = {**manifest.parts, "train": part}
    write_manifest(folder, manifest.model_copy(update={"parts": parts}))


@pytest.mark.parametrize(
    "columns",
    [
        {"shard": [0, 7]},
        {"shard": [-1, 1]},
        {"shard": [0, 0]},
        {"offset": [-8, 0]},
        {"offset": [10**12, 0]},
        {"bytes": [-5, 100]},
        {"bytes": [2**62, 100]},
        {"rows": [-60, 150]},
        {"rows": [61, 29]},
        {"rows": [0, 90]},
        {"shard": [0, 0], "rows": [60, 30], "offset": [300, 400]},
    ],
)
def test_an_index_of_other_shards_is_refused(tmp_path, columns):
    make_shards(tmp_path, SPEC)
    with_index(tmp_path, **columns)
    with pytest.raises(WholewordError, match=r"index\.arrow: (makes no sense|not) of these shards"):
        ShardDataset(tmp_path, "train")


def test_lengths_that_no_row_can_have_are_refused(tmp_path):
    make_shards(tmp_path, SPEC)
    lengths = [np.array(values.as_py()) for values in index_of(tmp_path)["lengths"]]
    for change in (0, 31, 500):
        lengths[0][3] = change
        with_index(tmp_path, lengths=[values.tolist() for values in lengths])
        with pytest.raises(WholewordError, match="makes no sense of these shards"):
            ShardDataset(tmp_path, "train")


def broken(rows: Rows, what: str) -> Rows:
    if what == "ids":
        ids = rows.ids.copy()
        ids[7] = SPEC.vocab_size
        return replace(rows, ids=ids)
    words = rows.word_starts.copy()
    words[rows.offsets[5]] = False
    return replace(rows, word_starts=words)


@pytest.mark.parametrize("what", ["ids", "words"])
def test_rows_that_the_format_does_not_allow_are_refused_before_they_are_used(tmp_path, what):
    make_shards(tmp_path, SPEC)
    rows = broken(random_rows(SPEC, 50, np.random.default_rng(0)), what)
    schema_of = ShardDataset(tmp_path, "train")._schema
    part = make_part(tmp_path, "train", [rows], schema_of)
    manifest = memory_manifest(SPEC).model_copy(update={"parts": {"train": part}})
    write_manifest(tmp_path, manifest)
    dataset = ShardDataset(tmp_path, "train")
    with pytest.raises(WholewordError, match=r"record batch at byte \d+ is malformed"):
        dataset.locate(0)
    with pytest.raises(WholewordError, match="is malformed"):
        ShardDataset(tmp_path, "train", check_shards="full")


def test_another_file_in_a_shards_place_is_refused(tmp_path):
    """The checksum of the batch is right, as the index says; the batch is of another shard."""
    make_shards(tmp_path, SPEC)
    table = index_of(tmp_path)
    shard = tmp_path / read_manifest(tmp_path).parts["train"].shards[0].file
    data = bytearray(shard.read_bytes())
    offset, size = (int(table[name][0].as_py()) for name in ("offset", "bytes"))
    data[offset + 8] ^= 0xFF
    shard.write_bytes(data)
    digest = xxhash.xxh3_64_intdigest(bytes(data[offset : offset + size]))
    with_index(tmp_path, xxh3_64=[digest, table["xxh3_64"][1].as_py()])
    with pytest.raises(WholewordError, match=r"record batch at byte \d+ is (malformed|damaged)"):
        ShardDataset(tmp_path, "train").locate(0)


def test_record_batches_in_another_order_are_refused(tmp_path):
    """Row numbers would be others, and with them order, packs and masks."""
    make_shards(tmp_path, SPEC)
    swapped = {
        name: list(reversed(index_of(tmp_path)[name].to_pylist())) for name in INDEX_SCHEMA.names
    }
    with_index(tmp_path, **swapped)
    with pytest.raises(WholewordError, match="makes no sense of these shards"):
        ShardDataset(tmp_path, "train")


def test_columns_of_another_type_are_refused(tmp_path):
    """Without this, half of each id would be read as an id."""
    make_shards(tmp_path, SPEC)
    wide = shard_schema(np.dtype(np.uint32))
    part = make_part(tmp_path, "train", [random_rows(SPEC, 50, np.random.default_rng(0))], wide)
    manifest = memory_manifest(SPEC).model_copy(update={"parts": {"train": part}})
    write_manifest(tmp_path, manifest)
    with pytest.raises(WholewordError, match="its columns are not those of a shard"):
        ShardDataset(tmp_path, "train").locate(0)


@pytest.mark.parametrize("column", range(4))
def test_a_record_batch_with_nulls_is_not_read(tmp_path, column):
    """Kernels would read what lies under a null."""
    make_shards(tmp_path, SPEC)
    dataset = ShardDataset(tmp_path, "train")
    batch = dataset.locate(0).batch
    assert dataset._is_as_indexed(0, batch)
    columns = batch.columns
    values = columns[column].to_pylist()
    values[3] = None if column == 3 else [None, *values[3][1:]]
    columns[column] = pa.array(values, batch.schema[column].type)
    with_null = pa.RecordBatch.from_arrays(columns, schema=batch.schema)
    assert not dataset._is_as_indexed(0, with_null)
