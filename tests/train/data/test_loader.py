import os
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from preprocess.errors import WholewordError
from tests.train.shard_factory import CLS, ShardSpec, make_shards
from train.data.loader import (
    Cursor,
    Loader,
    LoaderOptions,
    count_steps,
    evaluation_batches,
    evenly_spaced,
)
from train.data.shard_dataset import ShardDataset

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = LoaderOptions(4, 64, accumulation=8, seed=3, mlm_probability=(0.3, 0.15), window=512)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    make_shards(folder, ShardSpec(rows=(700, 300, 0, 4200, 20), lengths=tuple(range(5, 60, 3))))
    return ShardDataset(folder, "train")


def frozen(batch):
    """A micro-batch as a value: buffers are used again."""
    arrays = (batch.input_ids, batch.position_ids, batch.positions, batch.labels, batch.words)
    bounds = batch.cu_seqlens if batch.cu_seqlens is not None else batch.attention_mask
    return (batch.rows, batch.tokens, bounds.tobytes(), *(array.tobytes() for array in arrays))


def rows_of(batch):
    """The unmasked rows of a packed micro-batch."""
    ids = batch.input_ids.copy().reshape(-1)
    ids[batch.positions] = batch.labels
    bounds = zip(batch.cu_seqlens[:-1], batch.cu_seqlens[1:], strict=True)
    return [tuple(ids[begin + 1 : end - 1].tolist()) for begin, end in bounds]


def all_steps(dataset, options, start=Cursor(), first=0, total=None):  # noqa: B008 (it is frozen)
    total = count_steps(dataset, options, 2) if total is None else total
    return [
        (step.number, step.epoch, step.cursor, [frozen(batch) for batch in step.micro_batches])
        for step in Loader(dataset, options).steps(start, first, total)
    ]


def test_every_row_exactly_once_an_epoch(dataset):
    total = count_steps(dataset, OPTIONS, 1)
    seen = [
        row
        for step in Loader(dataset, OPTIONS).steps(Cursor(), 0, total)
        for batch in step.micro_batches
        for row in rows_of(batch)
    ]
    expected = [tuple(dataset.row(number)[0].tolist()) for number in range(len(dataset))]
    assert sorted(seen) == sorted(expected)
    assert seen != expected


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_world_sizes_give_the_same_steps(dataset, layout):
    options = replace(OPTIONS, layout=layout, prefetch=0)
    whole = all_steps(dataset, options)
    for world_size in (2, 4):
        ranks = [
            all_steps(
                dataset,
                replace(options, world_size=world_size, accumulation=8 // world_size, rank=rank),
            )
            for rank in range(world_size)
        ]
        for steps in zip(whole, *ranks, strict=True):
            assert len({step[:3] for step in steps}) == 1
            dealt = [
                pack for packs in zip(*(s[3] for s in steps[1:]), strict=True) for pack in packs
            ]
            assert dealt == steps[0][3]


@pytest.mark.parametrize("depth", [0, 1, 8])
def test_prefetch_depth_changes_nothing(dataset, depth):
    total = 40
    options = replace(OPTIONS, prefetch=depth)
    assert all_steps(dataset, options, total=total) == all_steps(dataset, OPTIONS, total=total)


def test_resuming_anywhere_goes_on_exactly(dataset):
    whole = all_steps(dataset, OPTIONS)
    assert {step[1] for step in whole} == {0, 1}
    for number in (0, 1, len(whole) // 2 - 1, len(whole) // 2, len(whole) - 2):
        cursor = Cursor.from_dict(whole[number][2].to_dict())
        rest = all_steps(dataset, OPTIONS, cursor, number + 1, len(whole))
        assert rest == whole[number + 1 :]


def test_only_the_last_step_is_filled_up(dataset):
    options = replace(OPTIONS, accumulation=7, world_size=3, rank=2)
    packs = count_steps(dataset, replace(options, accumulation=1, world_size=1), 1)
    total = count_steps(dataset, options, 2)
    steps = [
        [batch.rows for batch in step.micro_batches]
        for step in Loader(dataset, options).steps(Cursor(), 0, total)
    ]
    assert all(all(rows) for rows in steps[:-1])
    assert len(steps[-1]) == 7
    assert not steps[-1][-1]
    assert abs(total * 21 - 2 * packs) < 42


def test_epochs_have_other_masks_and_other_orders(dataset):
    options = replace(OPTIONS, mlm_probability=(0.15, 0.15), accumulation=1)
    masks = []
    for epoch in (0, 1):
        steps = Loader(dataset, options).steps(Cursor(epoch), 0, 10_000)
        batches = [step.micro_batches[0] for step in islice(steps, 1)]
        masks.append(rows_of(batches[0]))
        steps.close()
    assert masks[0] != masks[1]


def test_p_is_linear_over_the_run(dataset):
    options = replace(OPTIONS, mlm_probability=(0.5, 0.1))
    shares = [
        sum(len(batch.labels) for batch in step.micro_batches)
        / sum(batch.tokens - 2 * batch.rows for batch in step.micro_batches)
        for step in Loader(dataset, options).steps(Cursor(), 0, 20)
    ]
    assert np.allclose(shares, np.linspace(0.5, 0.1, 20), atol=0.06)
    resumed = Loader(dataset, options).steps(Cursor(), 19, 20)
    share = next(resumed).micro_batches[0]
    assert len(share.labels) / share.tokens < 0.2
    resumed.close()


def test_a_step_stays_whole_until_the_step_after_the_next(dataset):
    steps = Loader(dataset, replace(OPTIONS, prefetch=1)).steps(Cursor(), 0, 30)
    before, values = None, None
    for step in steps:
        if before is not None:
            assert [frozen(batch) for batch in before.micro_batches] == values
        before, values = step, [frozen(batch) for batch in step.micro_batches]


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_evaluation_sees_every_row_once_with_the_same_masks(dataset, layout):
    options = replace(OPTIONS, layout=layout)
    first = [frozen(batch) for batch in evaluation_batches(dataset, options)]
    assert first == [frozen(batch) for batch in evaluation_batches(dataset, options)]
    assert sum(value[0] for value in first) == len(dataset)
    for world_size in (2, 4):
        ranks = [
            [
                frozen(batch)
                for batch in evaluation_batches(
                    dataset, replace(options, world_size=world_size, rank=rank)
                )
            ]
            for rank in range(world_size)
        ]
        assert len({len(batches) for batches in ranks}) == 1
        dealt = [value for group in zip(*ranks, strict=True) for value in group]
        assert dealt[: len(first)] == first
        assert not any(value[0] for value in dealt[len(first) :])


@pytest.mark.parametrize(("layout", "window"), [("packed", OPTIONS.window), ("padded", 1)])
def test_evaluation_of_some_rows_takes_them_evenly(dataset, layout, window):
    options = replace(OPTIONS, layout=layout, window=window)
    assert np.flatnonzero(evenly_spaced(10, 4)).tolist() == [0, 2, 5, 7]
    for most in (1, 7, len(dataset) - 1):
        batches = [batch.rows for batch in evaluation_batches(dataset, options, most)]
        assert sum(batches) == most
    everything = [frozen(batch) for batch in evaluation_batches(dataset, options)]
    for most in (0, len(dataset), len(dataset) + 5):
        assert [frozen(batch) for batch in evaluation_batches(dataset, options, most)] == everything


def test_small_parts(tmp_path):
    make_shards(tmp_path, ShardSpec(rows=(1,)))
    dataset = ShardDataset(tmp_path, "train")
    assert count_steps(dataset, OPTIONS, 1) == 1
    (step,) = Loader(dataset, OPTIONS).steps(Cursor(), 0, 1)
    assert [batch.rows for batch in step.micro_batches] == [1] + [0] * 7
    assert step.micro_batches[0].input_ids[0, 0] == CLS
    empty = ShardDataset(tmp_path, "test")
    assert list(evaluation_batches(empty, OPTIONS)) == []
    with pytest.raises(WholewordError, match="no rows"):
        Loader(empty, OPTIONS)


def test_rows_that_do_not_fit_are_refused(dataset):
    with pytest.raises(WholewordError, match="--max-length"):
        Loader(dataset, replace(OPTIONS, max_length=32))


def test_counting_steps(dataset):
    one = replace(OPTIONS, accumulation=1)
    first, second = (count_steps(dataset, one, epochs) for epochs in (1, 2))
    assert first < second <= 2 * first + 5
    assert count_steps(dataset, one, 0.5) == -(-first // 2)
    assert count_steps(dataset, OPTIONS, 2) == -(-second // 8)


@pytest.mark.slow
@pytest.mark.parametrize("max_length", [128, 512])
def test_the_sample_has_little_padding(tmp_path, max_length):
    command = [sys.executable, "-m", "preprocess", "build-shards", "--max-length", str(max_length)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, "--output", str(tmp_path / "shards")],
        check=True,
        cwd=ROOT,
        env=environment,
        capture_output=True,
    )
    dataset = ShardDataset(tmp_path / "shards", "train")
    options = LoaderOptions(8, max_length, prefetch=0)
    packs = count_steps(dataset, options, 1)
    tokens = sum(
        batch.tokens
        for step in Loader(dataset, options).steps(Cursor(), 0, packs)
        for batch in step.micro_batches
    )
    assert tokens == int(dataset.lengths.sum(dtype=np.int64)) + 2 * len(dataset)
    assert tokens / (packs * 8 * max_length) > 0.98


class Reader(threading.Event):
    """What a GPU's event is: somebody who reads buffers until it is set."""

    synchronize = threading.Event.wait


@pytest.mark.parametrize("prefetch", [1, 2])
def test_buffers_are_not_written_while_somebody_reads_them(dataset, prefetch):
    options = replace(OPTIONS, accumulation=1, prefetch=prefetch)
    expected = [micro[0] for *_, micro in all_steps(dataset, options, total=12)]
    steps = Loader(dataset, options).steps(Cursor(), 0, 12)
    readers, taken = [], []
    for step in islice(steps, prefetch + 3):  # as many as there are sets of buffers
        taken.append(step)
        readers.append(Reader())
        step.use.until(readers[-1])
    following = threading.Thread(target=lambda: taken.extend(steps))
    following.start()
    following.join(0.3)
    assert following.is_alive() and len(taken) == prefetch + 3, "the loader waits for a reader"
    assert [frozen(step.micro_batches[0]) for step in taken] == expected[: len(taken)]
    for reader in readers:
        reader.set()
    following.join(10)
    assert len(taken) == 12
    assert frozen(taken[-1].micro_batches[0]) == expected[-1]


@pytest.mark.parametrize(
    "value", [{}, {"epoch": 0, "window": 0}, {"epoch": 0, "window": 0, "pack": -1}]
)
def test_a_cursor_that_is_none_is_refused(value):
    with pytest.raises(WholewordError, match=r"progress\.json: its cursor"):
        Cursor.from_dict(value)


@pytest.mark.parametrize("cursor", [Cursor(0, 99, 0), Cursor(0, 0, 10**6), Cursor(3, 0, 10**30)])
def test_a_cursor_beyond_the_rows_is_refused(tmp_path, cursor):
    """It would go on with the next window or epoch, in silence."""
    make_shards(tmp_path)
    steps = Loader(ShardDataset(tmp_path, "train"), OPTIONS).steps(cursor, 0, 10)
    with pytest.raises(WholewordError, match=r"has no pack \d+ in window \d+"):
        next(steps)
