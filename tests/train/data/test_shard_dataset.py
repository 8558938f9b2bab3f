import random
import resource
import shutil
import time

import numpy as np
import pyarrow as pa
import pytest

from preprocess.errors import WholewordError
from preprocess.write.manifest import read_manifest, write_manifest
from preprocess.write.shards import INDEX_SCHEMA, Rows, read_index, shard_schema, write_index
from tests.train.shard_factory import ShardSpec, make_shards
from train.data import shard_dataset
from train.data.bits import load_bits, uint16_view
from train.data.loader import Cursor, Loader, LoaderOptions
from train.data.shard_dataset import ShardDataset, check_same_tokenizer

SPEC = ShardSpec(rows=(40, 5000, 0, 35), max_length=32)


@pytest.fixture
def shards(tmp_path):
    return tmp_path, make_shards(tmp_path, SPEC)


def bits_at(address, count):
    return [bool(load_bits(address + i, 1)) for i in range(count)]


def test_rows_are_those_that_were_written(shards):
    folder, parts = shards
    dataset = ShardDataset(folder, "train")
    rows = Rows.concatenate(parts["train"])
    assert len(dataset) == len(rows) == 5075
    assert dataset.batches == 4  # 40, 4096, 904, 35
    assert np.array_equal(dataset.lengths, np.diff(rows.offsets))
    for number in (0, 39, 40, 4135, 4136, 5074):
        part = slice(rows.offsets[number], rows.offsets[number + 1])
        ids, words, sentences = dataset.row(number)
        assert np.array_equal(ids, rows.ids[part])
        assert np.array_equal(words, rows.word_starts[part])
        assert np.array_equal(sentences, rows.sentence_starts[part])


def test_addresses_lead_to_the_rows(shards):
    folder, _ = shards
    dataset = ShardDataset(folder, "train")
    for batch in range(dataset.batches):
        located = dataset.locate(batch)
        for place in (0, len(located.lengths) // 2, len(located.lengths) - 1):
            ids, words, sentences = dataset.row(located.first + place)
            count = int(located.lengths[place])
            assert uint16_view(located.ids[place], count).tolist() == ids.tolist()
            assert bits_at(int(located.words[place]), count) == words.tolist()
            assert bits_at(int(located.sentences[place]), count) == sentences.tolist()


def damage(folder, how):
    shard = folder / "train/data-00001-of-00004.arrow"
    if how == "missing":
        shard.unlink()
    elif how == "truncated":
        shard.write_bytes(shard.read_bytes()[:-100])
    elif how == "replaced":
        shard.write_bytes((folder / "train/data-00000-of-00004.arrow").read_bytes())
    elif how == "no index":
        (folder / "train/index.arrow").unlink()
    elif how == "another index":
        empty = pa.Table.from_pylist([], schema=INDEX_SCHEMA)
        write_index(folder / "train/index.arrow", [empty])
    elif how == "torn index":
        index = folder / "train/index.arrow"
        index.write_bytes(index.read_bytes()[:100])


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("missing", r"data-00001-of-00004\.arrow: .*build the shards again"),
        ("truncated", r"data-00001-of-00004\.arrow: \d+ bytes, but the manifest says"),
        ("replaced", r"data-00001-of-00004\.arrow: \d+ bytes, but the manifest says"),
        ("no index", r"index\.arrow: .*--reindex"),
        ("another index", r"index\.arrow: .*--reindex"),
        ("torn index", r"index\.arrow: .*--reindex"),
    ],
)
def test_what_is_wrong_is_refused_at_start_by_name(shards, how, named):
    folder, _ = shards
    damage(folder, how)
    with pytest.raises(WholewordError, match=named):
        ShardDataset(folder, "train")


def flip_a_byte(folder):
    shard = folder / "train/data-00003-of-00004.arrow"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)


def test_a_flipped_byte_is_caught_before_use(shards):
    folder, _ = shards
    flip_a_byte(folder)
    dataset = ShardDataset(folder, "train")
    dataset.locate(0)
    for _ in range(2):  # it is not forgotten that the batch is bad
        with pytest.raises(WholewordError, match=r"data-00003-of-00004\.arrow: record batch"):
            dataset.locate(3)
    options = LoaderOptions(micro_batch_size=4, max_length=32)
    with pytest.raises(WholewordError, match="data-00003"):
        list(Loader(dataset, options).steps(Cursor(), 0, 400))


def flip(path, rng):
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncate(path, rng):
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def delete(path, rng):
    path.unlink()


def swap(path, rng):
    other = rng.choice([p for p in path.parent.rglob("*") if p.is_file() and p != path])
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def all_rows(folder):
    dataset = ShardDataset(folder, "train")
    return [dataset.locate(batch).batch.to_pylist() for batch in range(dataset.batches)]


@pytest.mark.parametrize("how", [flip, truncate, delete, swap])
def test_damage_at_random_is_never_used(tmp_path, how):
    folder = tmp_path / "whole"
    make_shards(folder, ShardSpec(rows=(9, 9, 0, 5), lengths=(8,)))  # two shards of one size
    wanted = all_rows(folder)
    rng = random.Random(6)
    for number in range(30):
        copy = shutil.copytree(folder, tmp_path / str(number))
        train = sorted((copy / "train").iterdir())
        how(rng.choice([*train, copy / "manifest.json"]), rng)
        try:
            found = all_rows(copy)
        except WholewordError as error:
            assert str(copy) in str(error) and "\n" not in str(error)
        else:  # the loader reads neither a stream's head and end nor what is for other libraries
            assert found == wanted


def test_a_full_check_reads_all_at_start(shards):
    folder, _ = shards
    ShardDataset(folder, "train", check_shards="full")
    flip_a_byte(folder)
    with pytest.raises(WholewordError, match="data-00003"):
        ShardDataset(folder, "train", check_shards="full")


def test_batches_are_hashed_once(shards, monkeypatch):
    folder, _ = shards
    dataset = ShardDataset(folder, "train")
    calls = []
    digest = shard_dataset.xxhash.xxh3_64_intdigest
    monkeypatch.setattr(
        shard_dataset.xxhash, "xxh3_64_intdigest", lambda data: calls.append(1) or digest(data)
    )
    for _ in range(3):
        dataset.locate(1)
    assert len(calls) == 1


def test_unknown_part_and_folder(shards, tmp_path):
    folder, _ = shards
    with pytest.raises(WholewordError, match="no dev part"):
        ShardDataset(folder, "dev")
    with pytest.raises(WholewordError, match="build-shards"):
        ShardDataset(tmp_path / "nowhere", "train")
    assert len(ShardDataset(folder, "test")) == 0


def test_wide_ids(tmp_path):
    spec = ShardSpec(rows=(10,), vocab_size=100_000)
    rows = make_shards(tmp_path, spec)["train"][0]
    dataset = ShardDataset(tmp_path, "train")
    assert dataset._schema == shard_schema(np.dtype(np.uint32))
    assert np.array_equal(dataset.row(9)[0], rows.ids[rows.offsets[9] :])


def test_opening_holds_only_lengths(tmp_path):
    """Two million rows of one shard under many names: opened from the index."""
    make_shards(tmp_path, ShardSpec(rows=(4096,), lengths=(1,)))
    index = read_index(tmp_path / "train/index.arrow")
    row = {
        "shard": 0,
        "offset": int(index.offset[0]),
        "bytes": int(index.bytes[0]),
        "rows": 4096,
        "xxh3_64": int(index.xxh3_64[0]),
        "lengths": index.lengths[0],
    }
    table = pa.Table.from_pylist([row | {"shard": n} for n in range(500)], schema=INDEX_SCHEMA)
    digest = write_index(tmp_path / "train/index.arrow", [table])
    manifest = read_manifest(tmp_path)
    entry = manifest.parts["train"]
    shards = []  # one file under 500 names
    for number in range(500):
        name = f"train/copy-{number}.arrow"
        (tmp_path / name).hardlink_to(tmp_path / entry.shards[0].file)
        shards.append(entry.shards[0].model_copy(update={"file": name}))
    totals = {name: 500 * getattr(entry, name) for name in ("rows", "tokens", "words")}
    entry = entry.model_copy(update=totals | {"index_xxh3_128": digest, "shards": tuple(shards)})
    write_manifest(
        tmp_path, manifest.model_copy(update={"parts": {**manifest.parts, "train": entry}})
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    dataset = ShardDataset(tmp_path, "train")
    assert time.perf_counter() - begin < 5
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert len(dataset) == 500 * 4096
    assert dataset.lengths.nbytes == 2 * len(dataset)
    assert grown < 16 * len(dataset)
    assert np.array_equal(dataset.locate(499).lengths, np.ones(4096))


def test_the_tokenizer_of_other_shards_is_read_before_it_is_trusted(tmp_path):
    for name in ("one", "two"):
        make_shards(tmp_path / name, ShardSpec(max_length=32))
        (tmp_path / name / "tokenizer").mkdir(exist_ok=True)
    first, other = (ShardDataset(tmp_path / name, "train") for name in ("one", "two"))
    entry = other.manifest.tokenizer.model_copy(update={"files": {"tokenizer.json": "0" * 32}})
    other.manifest = other.manifest.model_copy(update={"tokenizer": entry})
    (tmp_path / "two" / "tokenizer" / "tokenizer.json").write_text("{}")
    with pytest.raises(WholewordError, match=r"tokenizer\.json: differs"):
        check_same_tokenizer(other, first)
