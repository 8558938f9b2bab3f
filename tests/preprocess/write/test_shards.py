import errno
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from preprocess.format import BATCH_ROWS
from preprocess.write.shards import (
    INDEX_SCHEMA,
    Rows,
    ShardWriter,
    open_batch,
    read_index,
    scan_shard,
    shard_name,
    shard_schema,
    write_index,
)

SCHEMA = shard_schema(np.dtype(np.uint16))


def random_rows(count: int, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 30, count))]).astype(np.int64)
    tokens = int(offsets[-1])
    return Rows(
        rng.integers(0, 60_000, tokens).astype(np.uint16),
        rng.random(tokens) < 0.5,
        rng.random(tokens) < 0.2,
        offsets,
        np.sort(rng.integers(0, 1 << 40, count)),
    )


def write(path: Path, pieces: list[Rows], number: int = 0) -> ShardWriter:
    with ShardWriter(path, number, SCHEMA) as writer:
        for piece in pieces:
            writer.write(piece)
    return writer


def assert_rows(batch: pa.RecordBatch, rows: Rows) -> None:
    for name, values in (
        ("input_ids", rows.ids),
        ("word_starts", rows.word_starts),
        ("sentence_starts", rows.sentence_starts),
    ):
        found = batch.column(name)
        assert np.array_equal(found.flatten().to_numpy(zero_copy_only=False), values)
        assert np.array_equal(np.diff(found.offsets), np.diff(rows.offsets))
    assert np.array_equal(batch.column("document"), rows.documents)


@pytest.mark.parametrize("sizes", [[1], [BATCH_ROWS], [5000, 0, 1, 4000], [3] * 40, [9000]])
def test_rows_come_back_by_index_and_by_scan(tmp_path: Path, sizes: list[int]) -> None:
    pieces = [random_rows(size, seed) for seed, size in enumerate(sizes)]
    rows = Rows.concatenate(pieces)
    path = tmp_path / shard_name(0, 1)
    writer = write(path, pieces)
    write_index(tmp_path / "index.arrow", [writer.index])
    index = read_index(tmp_path / "index.arrow")
    assert index.rows[:-1].tolist() == [BATCH_ROWS] * (len(index.rows) - 1)
    assert index.rows.sum() == len(rows)
    assert np.array_equal(np.concatenate(index.lengths), np.diff(rows.offsets))
    with pa.memory_map(str(path)) as source:
        data = source.read_buffer()
    scanned = list(scan_shard(data, 0))
    assert pa.Table.from_pylist([entry for entry, _ in scanned], INDEX_SCHEMA) == writer.index
    for k, (_, batch) in enumerate(scanned):
        expected = rows.slice(k * BATCH_ROWS, min((k + 1) * BATCH_ROWS, len(rows)))
        assert_rows(batch, expected)
        begin, size = int(index.offset[k]), int(index.bytes[k])
        assert_rows(open_batch(data, begin, size, SCHEMA), expected)
        assert xxhash.xxh3_64_intdigest(data.slice(begin, size)) == index.xxh3_64[k]
    assert pa.ipc.open_stream(data).read_all().num_rows == len(rows)  # a whole stream


def test_the_writer_knows_what_it_wrote(tmp_path: Path) -> None:
    rows = random_rows(5000)
    writer = write(tmp_path / "shard", [rows])
    data = (tmp_path / "shard").read_bytes()
    assert writer.bytes == len(data)
    assert writer.xxh3_128 == xxhash.xxh3_128_hexdigest(data)
    assert (writer.rows, writer.tokens) == (5000, len(rows.ids))
    assert writer.words == rows.word_starts.sum()


def test_bytes_do_not_depend_on_how_rows_arrive(tmp_path: Path) -> None:
    rows = random_rows(10_000)
    write(tmp_path / "a", [rows])
    cuts = [0, 1, 100, 4096, 4097, 9000, 10_000]
    write(tmp_path / "b", [rows.slice(b, e) for b, e in pairwise(cuts)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_empty_shard_is_a_stream_without_batches(tmp_path: Path) -> None:
    writer = write(tmp_path / "shard", [])
    data = pa.py_buffer((tmp_path / "shard").read_bytes())
    assert pa.ipc.open_stream(data).read_all() == SCHEMA.empty_table()
    assert list(scan_shard(data, 0)) == []
    write_index(tmp_path / "index.arrow", [writer.index])
    index = read_index(tmp_path / "index.arrow")
    assert len(index.rows) == sum(map(len, index.lengths)) == 0
    assert all(lengths.dtype == np.uint16 for lengths in index.lengths)
    write_index(tmp_path / "none.arrow", [])
    assert len(read_index(tmp_path / "none.arrow").rows) == 0


def test_a_shard_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    with pytest.raises(Stop), ShardWriter(tmp_path / "shard", 0, SCHEMA) as writer:
        writer.write(random_rows(5000))
        names = [path.name for path in tmp_path.iterdir()]
        assert len(names) == 1 and re.fullmatch(r"\.shard\.[0-9a-f]{8}\.tmp", names[0])
        raise Stop
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["write.shards.ShardWriter._put", "files.publish"])
def test_an_error_at_the_end_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"), ShardWriter(tmp_path / "shard", 0, SCHEMA):
        monkeypatch.setattr(f"preprocess.{where}", full)
    assert not list(tmp_path.iterdir())


def test_an_incomplete_shard_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "shard", [random_rows(5000)])
    data = (tmp_path / "shard").read_bytes()
    for size in (len(data) - 8, len(data) - 1, len(data) // 2, 100, 3, 0):
        with pytest.raises((OSError, pa.ArrowInvalid)):
            list(scan_shard(pa.py_buffer(data[:size]), 0))


def test_a_build_does_not_import_pandas(tmp_path: Path) -> None:
    """That takes 0.4 s of every process."""
    (tmp_path / "text.txt").write_text("some words\nmore words\n" * 20)
    code = (
        "import sys; from preprocess.cli import app; sys.argv = ['', 'build-shards', '--workers', "
        f"'1', '--input', {str(tmp_path / 'text.txt')!r}, '--output', {str(tmp_path / 'out')!r}]\n"
        "try: app()\nexcept SystemExit as end: sys.exit(end.code or 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "manifest.json").exists()
