"""Several datasets at once: shares of tokens, the order within each, and resuming."""

import itertools
import json

import numpy as np
import pytest

from preprocess.errors import WholewordError
from preprocess.files import write_json
from preprocess.write.shards import seal
from tests.train.shard_factory import ShardSpec, make_shards
from train.data.loader import Loader, count_steps, expected_passes
from train.data.mixture import Mixture, mixed_seed, open_mixture
from train.data.shard_dataset import ShardDataset
from train.data.windows import Cursor, LoaderOptions

OPTIONS = LoaderOptions(
    micro_batch_size=2, max_length=32, accumulation=4, seed=5, window=128, prefetch=0
)
WEIGHTS = (4.0, 1.0)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixing")
    for name, rows, longest in (("law", (500, 300), 32), ("general", (250,), 17)):
        make_shards(folder / name, ShardSpec(rows=rows, max_length=longest))
    return [ShardDataset(folder / name, "train") for name in ("law", "general")]


def steps(datasets, total, options=OPTIONS, start=None, first=0, weights=WEIGHTS):
    start = start or Cursor(others=(Cursor(),) * (len(datasets) - 1))
    loader = Loader(datasets[0], options, datasets[1:], weights)
    for step in loader.steps(start, first, total):
        batches = [
            (source, batch.tokens, batch.input_ids.copy(), batch.labels.copy())
            for source, batch in zip(step.sources, step.micro_batches, strict=True)
        ]
        yield step, batches


def packs(datasets, total, **keywords):
    return [batch for _, batches in steps(datasets, total, **keywords) for batch in batches]


def same(one, other):
    return all(
        a[:2] == b[:2] and np.array_equal(a[2], b[2]) and np.array_equal(a[3], b[3])
        for a, b in itertools.zip_longest(one, other)
    )


@pytest.mark.parametrize("weights", [(4.0, 1.0), (1.0, 9.0), (0.37, 0.63)])
def test_shares_of_tokens_are_the_weights_over_any_thousand_packs(datasets, weights):
    """Through many epochs of either dataset."""
    drawn = packs(datasets, 600, weights=weights)
    tokens = np.zeros((len(drawn), 2))
    for number, (source, count, *_) in enumerate(drawn):
        tokens[number, source] = count
    sums = np.cumsum(np.vstack([[0, 0], tokens]), axis=0)
    thousands = sums[1000:] - sums[:-1000]
    shares = thousands / thousands.sum(axis=1, keepdims=True)
    assert np.abs(shares - np.array(weights) / sum(weights)).max() < 0.01


def test_each_dataset_is_read_as_if_it_were_alone(datasets):
    mixed = packs(datasets, 120)
    for number, dataset in enumerate(datasets):
        alone = LoaderOptions(**vars(OPTIONS) | {"seed": mixed_seed(OPTIONS.seed, number)})
        expected = packs([dataset], 120, options=alone, weights=(1.0,))
        found = [batch for batch in mixed if batch[0] == number]
        assert len(found) > 50
        for mine, its in zip(found, expected, strict=False):
            assert same([(0, *mine[1:])], [its])


@pytest.mark.parametrize("weights", [WEIGHTS, (1.0, 9.0)])
@pytest.mark.parametrize("warmup", [0, 40])
def test_passes_are_foretold(datasets, weights, warmup):
    options = LoaderOptions(**vars(OPTIONS) | {"batch_warmup": warmup})
    made = list(steps(datasets, 60, weights=weights, options=options))
    drawn = [
        sum(count for _, batches in made for source, count, *_ in batches if source == number)
        for number in (0, 1)
    ]
    found = expected_passes(datasets, options, weights, range(60))
    wanted = [tokens / dataset.tokens for tokens, dataset in zip(drawn, datasets, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=0.03)
    ahead = expected_passes(datasets, options, weights, range(40, 60))
    assert sum(found) / 3 <= sum(ahead) + 1e-9 < sum(found)


@pytest.mark.parametrize("stop", [1, 17, 59])
def test_resuming_is_exact(datasets, stop):
    whole = list(steps(datasets, 80))
    saved = json.loads(json.dumps(whole[stop - 1][0].cursor.to_dict()))
    rest = steps(datasets, 80, start=Cursor.from_dict(saved, 2), first=stop)
    for (step, batches), (again, same_batches) in zip(whole[stop:], rest, strict=True):
        assert (step.number, step.epoch, step.cursor) == (again.number, again.epoch, again.cursor)
        assert same(batches, same_batches)


def test_ranks_deal_out_the_same_packs(datasets):
    alone = [batches for _, batches in steps(datasets, 40)]
    shares = []
    for rank in range(2):
        options = LoaderOptions(
            **vars(OPTIONS) | {"accumulation": 2, "world_size": 2, "rank": rank}
        )
        shares.append([batches for _, batches in steps(datasets, 40, options=options)])
    for whole, *parts in zip(alone, *shares, strict=True):
        assert same(whole, itertools.chain(*zip(*parts, strict=True)))


def test_steps_of_an_epoch_are_those_in_which_the_first_is_read_once(datasets):
    one = LoaderOptions(**vars(OPTIONS) | {"accumulation": 1})
    drawn = packs(datasets, count_steps(datasets[0], OPTIONS, 1, datasets[1:], WEIGHTS))
    read = sum(source == 0 for source, *_ in drawn)
    assert abs(read - count_steps(datasets[0], one, 1)) <= OPTIONS.accumulation


@pytest.mark.parametrize(
    "change",
    [
        {"others": []},
        {"others": [{}]},
        {"others": [{"epoch": 0, "window": 0, "pack": 0}]},
        {"others": 3},
        {"tokens": -1},
        {"tokens": 1.5},
        {"pack": None},
        {"more": 1},
    ],
)
def test_a_malformed_cursor_is_refused(change):
    value = Cursor(others=(Cursor(),)).to_dict() | change
    with pytest.raises(WholewordError, match="malformed"):
        Cursor.from_dict(value, 2)
    with pytest.raises(WholewordError, match="malformed"):
        Cursor.from_dict(Cursor().to_dict(), 2)


def test_another_tokenizer_is_refused(tmp_path):
    for name in ("a", "b"):
        make_shards(tmp_path / name, ShardSpec(rows=(20,)))
    path = tmp_path / "b" / "manifest.json"
    value = json.loads(path.read_text())
    value.pop("xxh3_128")
    value["tokenizer"]["sha256"] = "1" * 64
    write_json(path, seal(value))
    with pytest.raises(WholewordError, match=r"b: was built with another tokenizer than .+a;"):
        open_mixture([tmp_path / "a", tmp_path / "b"], [], "sizes")


def test_without_weights_each_has_what_it_holds(datasets):
    mixture = open_mixture([dataset.folder for dataset in datasets], [], "sizes")
    assert mixture.weights == tuple(float(dataset.tokens) for dataset in datasets)
    assert mixture.names == ("law", "general")
    assert Mixture((datasets[0], datasets[0]), WEIGHTS).names[0].endswith("_law")
