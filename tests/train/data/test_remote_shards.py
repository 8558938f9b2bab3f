"""Shards at an address: the same rows, from a cache that is checked, shared and bounded."""

import shutil
import threading

import numpy as np
import pytest

from preprocess.errors import WholewordError
from preprocess.places import Place, place
from preprocess.write.manifest import read_manifest
from tests import object_store
from tests.train.shard_factory import ShardSpec, make_shards
from train.data.batch_cache import BATCHES, BatchCache, CacheOptions, StoredBatch
from train.data.loader import Loader, LoaderOptions, evaluation_batches
from train.data.shard_dataset import ShardDataset
from train.data.windows import Cursor

SPEC = ShardSpec(rows=(40, 9000, 0, 35), max_length=16)
ADDRESS = "memory://remote/shards"
OPTIONS = LoaderOptions(micro_batch_size=64, max_length=16, window=4096)
PLENTY = 10**9


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The same shards in a folder and at an address."""
    folder = tmp_path_factory.mktemp("remote") / "shards"
    make_shards(folder, SPEC)
    object_store.upload(folder, ADDRESS)
    return folder


def opened(tmp_path, size=PLENTY, part="train", **changes):
    return ShardDataset(place(ADDRESS), part, cache=CacheOptions(tmp_path, size), **changes)


def cached(tmp_path):
    return sorted(p for p in (tmp_path / BATCHES).glob("*/*") if not p.name.startswith("."))


def steps_of(dataset):
    made = Loader(dataset, OPTIONS).steps(Cursor(), 0, 40)
    return [(b.input_ids.tobytes(), b.labels.tobytes()) for s in made for b in s.micro_batches]


def test_micro_batches_are_those_of_the_folder(stored, tmp_path):
    local = ShardDataset(stored, "train")
    assert steps_of(opened(tmp_path)) == steps_of(local)
    rows = (ShardDataset(stored, "validation"), opened(tmp_path, part="validation"))
    ids = [[b.input_ids.tobytes() for b in evaluation_batches(r, OPTIONS)] for r in rows]
    assert ids[0] == ids[1]


def test_a_second_run_asks_for_no_batch(stored, tmp_path, monkeypatch):
    wanted = steps_of(opened(tmp_path))
    asked = []
    read = Place.read_range
    monkeypatch.setattr(
        Place, "read_range", lambda self, a, b: (asked.append(self), read(self, a, b))[1]
    )
    assert steps_of(opened(tmp_path)) == wanted
    assert not asked


@pytest.mark.parametrize("how", ["flipped", "shorter"])
def test_a_damaged_file_of_the_cache_is_fetched_again(stored, tmp_path, how):
    wanted = steps_of(opened(tmp_path))
    for path in cached(tmp_path):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data if how == "flipped" else data[:-1])
    assert steps_of(opened(tmp_path)) == wanted


def test_the_cache_stays_in_its_bound(stored, tmp_path, monkeypatch):
    index = opened(tmp_path / "a")._index
    bound = int(index.bytes.max()) + 1000  # one large batch and small ones
    highest = []
    make_room = BatchCache._make_room

    def watched(self, wanted):
        make_room(self, wanted)
        highest.append(sum(path.stat().st_size for path in cached(tmp_path)) + wanted)

    monkeypatch.setattr(BatchCache, "_make_room", watched)
    wanted = steps_of(ShardDataset(stored, "train"))
    assert steps_of(opened(tmp_path, bound)) == wanted
    assert len(highest) > len(cached(tmp_path)) and max(highest) <= bound


def test_a_bound_below_a_batch_is_one_line(stored, tmp_path):
    dataset = opened(tmp_path, 100)
    with pytest.raises(WholewordError, match="--data-cache-size: a record batch has"):
        dataset.locate(1)


def test_what_is_longest_unused_goes_first(tmp_path):
    cache = BatchCache(CacheOptions(tmp_path, 2500))
    batches = [batch(bytes([n]) * 1000) for n in range(3)]
    for number in (0, 1, 0, 2):
        assert cache.read(batches[number]).to_pybytes() == bytes([number]) * 1000
    assert {path.name for path in cached(tmp_path)} == {
        batches[n].file.split("/")[1] for n in (0, 2)
    }


def batch(data, fetch=None):
    import xxhash

    return StoredBatch(xxhash.xxh3_64_intdigest(data), len(data), fetch or (lambda: data), "it")


def test_whoever_wants_what_is_being_fetched_waits_for_it(tmp_path):
    """Two caches stand for two ranks."""
    data, begun, go, asked = b"x" * 1000, threading.Event(), threading.Event(), []

    def fetch():
        asked.append(1)
        begun.set()
        assert go.wait(30)
        return data

    one, other = (BatchCache(CacheOptions(tmp_path, PLENTY)) for _ in range(2))
    one.fetch_ahead([batch(data, fetch)])
    assert begun.wait(30)
    other.fetch_ahead([batch(data, fetch)])
    go.set()
    assert other.read(batch(data, fetch)).to_pybytes() == data
    assert one.read(batch(data, fetch)).to_pybytes() == data
    assert asked == [1]


def test_bytes_that_are_not_those_that_were_built_are_refused(tmp_path):
    wanted = batch(b"x" * 100)
    wrong = StoredBatch(wanted.xxh3_64, 100, lambda: b"y" * 100, "s3://b/x: record batch")
    with pytest.raises(WholewordError, match="s3://b/x: record batch is damaged or of another"):
        BatchCache(CacheOptions(tmp_path, PLENTY)).read(wrong)
    assert not cached(tmp_path)


def test_a_dataset_that_changes_is_another_folder_of_the_cache(tmp_path):
    for seed in (1, 2):
        shutil.rmtree(tmp_path / "shards", ignore_errors=True)
        make_shards(tmp_path / "shards", ShardSpec(rows=(50,), seed=seed))
        object_store.upload(tmp_path / "shards", "memory://remote/changing")
        dataset = ShardDataset(
            place("memory://remote/changing"), "train", cache=CacheOptions(tmp_path / "c", PLENTY)
        )
        local = ShardDataset(tmp_path / "shards", "train")
        assert np.array_equal(dataset.row(7)[0], local.row(7)[0])
    assert len(list((tmp_path / "c" / "datasets" / "memory").glob("remote/changing/*"))) == 2


def test_what_is_missing_is_one_line(stored, tmp_path):
    with pytest.raises(WholewordError, match="memory://remote/nothing: holds no finished shards"):
        ShardDataset(place("memory://remote/nothing"), "train", cache=CacheOptions(tmp_path, 1))
    shutil.copytree(stored, tmp_path / "copy")
    (tmp_path / "copy" / "train" / "index.arrow").rename(tmp_path / "index.arrow")
    object_store.upload(tmp_path / "copy", "memory://remote/no-index")
    with pytest.raises(WholewordError, match=r"no-index/train/index.arrow: is missing"):
        ShardDataset(place("memory://remote/no-index"), "train", cache=CacheOptions(tmp_path, 1))
    (tmp_path / "index.arrow").rename(tmp_path / "copy" / "train" / "index.arrow")
    shard = read_manifest(stored).parts["train"].shards[1]
    (tmp_path / "copy" / shard.file).unlink()
    object_store.upload(tmp_path / "copy", "memory://remote/hole")
    with pytest.raises(WholewordError, match=f"{shard.file}: is missing"):
        ShardDataset(place("memory://remote/hole"), "train", cache=CacheOptions(tmp_path, PLENTY))
