"""What makes up a step: seeds, sums over ranks, and a batch size that warms up."""

import numpy as np
import pytest
import torch

from tests.train.shard_factory import ShardSpec, make_shards
from train.objective import Guesses
from train.shard_dataset import ShardDataset
from train.steps import Totals, make_steps, number_of_steps, pack_seed
from train.windows import Cursor, LoaderOptions


def test_pack_seeds_differ_and_fit_torch():
    seeds = {pack_seed(s, step, k) for s in range(3) for step in range(50) for k in range(8)}
    assert len(seeds) == 3 * 50 * 8
    torch.manual_seed(max(seeds))


def test_shares_of_the_loss_add_up_to_the_mean():
    totals = Totals(10.0, 4.0, 0, 0, False, False, False)
    parts = [Guesses(torch.tensor(float(n)), torch.ones(1), torch.tensor(2.0)) for n in (3, 5)]
    assert float(sum(totals.mean(part) for part in parts)) == pytest.approx(0.8 + 1.0)


@pytest.fixture
def dataset(tmp_path):
    make_shards(tmp_path, ShardSpec(rows=(150,), max_length=32))
    return ShardDataset(tmp_path, "train")


def content(steps):
    return [[batch.input_ids.copy() for batch in step.micro_batches] for step in steps]


def test_a_batch_size_that_warms_up_sees_the_same_packs(dataset):
    options = LoaderOptions(micro_batch_size=2, max_length=32, accumulation=4)
    total = number_of_steps(dataset, options, 6, 1.0)
    assert total > number_of_steps(dataset, options, 0, 1.0)
    warmed = list(make_steps(dataset, options, 6, Cursor(), 0, total))
    assert [len(step.micro_batches) for step in warmed][:7] == [1, 1, 2, 2, 3, 3, 4]
    plain = content(make_steps(dataset, options, 0, Cursor(), 0, 5))
    flat = [ids for step in content(warmed) for ids in step]
    for ids, expected in zip(flat, (ids for step in plain for ids in step), strict=False):
        assert np.array_equal(ids, expected)


def test_a_warming_batch_size_resumes_exactly(dataset):
    options = LoaderOptions(micro_batch_size=2, max_length=32, accumulation=4)
    whole = list(make_steps(dataset, options, 6, Cursor(), 0, 10))
    rest = content(make_steps(dataset, options, 6, whole[3].cursor, 4, 10))
    for found, expected in zip(rest, content(whole[4:]), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
