"""A batch size that warms up: smaller first steps, the same rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train.shard_factory import ShardSpec, make_shards
from train.data.loader import Loader, count_steps
from train.data.shard_dataset import ShardDataset
from train.data.windows import Cursor, LoaderOptions

PLAIN = LoaderOptions(micro_batch_size=2, max_length=32, accumulation=4)
WARMED = LoaderOptions(micro_batch_size=2, max_length=32, accumulation=4, batch_warmup=6)


@pytest.fixture
def dataset(tmp_path):
    make_shards(tmp_path, ShardSpec(rows=(150,), max_length=32))
    return ShardDataset(tmp_path, "train")


def read(dataset, options, total, cursor=None, first=0):
    """Every step's number, micro-batches, number of rows, and cursor."""
    return [
        (s.epoch, [b.input_ids.copy() for b in s.micro_batches], s.cursor)
        for s in Loader(dataset, options).steps(cursor or Cursor(), first, total)
    ]


@given(st.integers(1, 64), st.integers(1, 200))
def test_accumulation_grows_from_one_to_full(full, warmup):
    options = LoaderOptions(2, 32, accumulation=full, batch_warmup=warmup)
    sizes = [options.accumulation_at(step) for step in range(warmup + 3)]
    assert sizes[0] == 1 and sizes[-3:] == [full] * 3
    assert sizes == sorted(sizes)


def test_the_same_packs_are_seen(dataset):
    total = count_steps(dataset, WARMED, 1.0)
    assert total > count_steps(dataset, PLAIN, 1.0)
    warmed = read(dataset, WARMED, total)
    assert [len(batches) for _, batches, _ in warmed][:7] == [1, 1, 2, 2, 3, 3, 4]
    flat = [ids for _, batches, _ in warmed for ids in batches]
    plain = [ids for _, batches, _ in read(dataset, PLAIN, 5) for ids in batches]
    for ids, expected in zip(flat, plain, strict=False):
        assert np.array_equal(ids, expected)


def test_an_epoch_ends_where_it_ends_without(dataset):
    """The last step is filled up with empty packs; it does not begin another epoch."""
    for options in (PLAIN, WARMED):
        *_, (epoch, batches, cursor) = read(dataset, options, count_steps(dataset, options, 1.0))
        assert (epoch, cursor) == (0, Cursor(epoch=1))
        assert len(batches) == 4


def test_it_resumes_exactly(dataset):
    whole = read(dataset, WARMED, 10)
    rest = read(dataset, WARMED, 10, whole[3][2], 4)
    for (_, found, _), (_, expected, _) in zip(rest, whole[4:], strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_buffers_are_used_again_while_the_batch_grows(dataset):
    """A step's micro-batches lie in one of a few sets of buffers; none is copied out of them."""
    places = {
        batch.input_ids.ctypes.data
        for step in Loader(dataset, WARMED).steps(Cursor(), 0, 60)
        for batch in step.micro_batches
    }
    assert len(places) <= (WARMED.prefetch + 3) * WARMED.accumulation
