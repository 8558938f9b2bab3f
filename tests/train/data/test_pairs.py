import math

import numpy as np
import pytest

from preprocess.errors import WholewordError
from tests.train.shard_factory import (
    CLS,
    SEP,
    ShardSpec,
    bit_address,
    make_shards,
    memory_manifest,
    memory_table,
    random_rows,
)
from train.data.collate import Collator, make_buffers
from train.data.loader import Loader, LoaderOptions, evaluation_batches
from train.data.masking import make_masking
from train.data.pairs import make_pairs
from train.data.shard_dataset import ShardDataset

SPEC = ShardSpec(pairs=True, max_length=64, sentence_share=0.1)
COUNT = 2000


def paired(order, seed=0, epoch=0, rows=None):
    """Rows, and their batch with pairs and no masks."""
    rows = rows or random_rows(SPEC, COUNT, np.random.default_rng(0))
    table, keep = memory_table(rows)
    sentences = bit_address(rows.sentence_starts, keep, 5) + rows.offsets[:-1]
    buffers = make_buffers(len(rows.ids) + 3 * len(rows), len(rows))
    key = (np.uint64(seed), np.uint64(epoch))
    make_pairs(table, sentences, rows.documents, order, 2, *key, buffers.pair_labels)
    size = len(buffers.input_ids)
    collator = Collator(memory_manifest(SPEC), pairs=True)
    return rows, collator.pack(table, buffers, size, make_masking("wwm", 0.0), seed, epoch)


def halves(batch, number):
    """(A, B) of a row, B being None if it is whole, checked against its token types."""
    begin, end = batch.cu_seqlens[number : number + 2]
    ids, types = batch.input_ids[0, begin:end], batch.token_type_ids[0, begin:end]
    assert ids[0] == CLS
    assert ids[-1] == SEP
    places = np.flatnonzero(ids == SEP)
    if batch.pair_labels[number] == -100:
        assert len(places) == 1
        assert not types.any()
        return ids[1:-1].tolist(), None
    middle = places[0]
    assert types.tolist() == [0] * (middle + 1) + [1] * (len(ids) - middle - 1)
    assert batch.position_ids[0, begin:end].tolist() == list(range(end - begin))
    return ids[1:middle].tolist(), ids[middle + 1 : -1].tolist()


def row_of(rows, number):
    part = slice(rows.offsets[number], rows.offsets[number + 1])
    return rows.ids[part].tolist(), np.flatnonzero(rows.sentence_starts[part]).tolist()


def test_sentence_order_swaps_half_of_the_rows_at_a_sentence_start():
    rows, batch = paired(order=True)
    for number in range(COUNT):
        ids, starts = row_of(rows, number)
        first, second = halves(batch, number)
        label = batch.pair_labels[number]
        assert (label == -100) == (len(starts) == 1), "only a row of one sentence stays whole"
        if label == -100:
            assert first == ids
            continue
        whole = second + first if label else first + second
        assert whole == ids
        assert len(second if label else first) in starts[1:]
    labels = batch.pair_labels[batch.pair_labels >= 0]
    # |z| < 5: false alarm below 1e-6
    assert abs(labels.sum() - len(labels) / 2) < 5 * math.sqrt(len(labels) / 4)


def test_next_sentence_takes_the_begin_of_another_row_half_the_time():
    rows, batch = paired(order=False)
    begins = {}
    for number in range(COUNT):
        ids, _ = row_of(rows, number)
        begins.setdefault(ids[0], []).append(ids)
    for number in range(COUNT):
        ids, starts = row_of(rows, number)
        first, second = halves(batch, number)
        if batch.pair_labels[number] == -100:
            continue
        assert ids[: len(first)] == first
        assert len(first) in starts[1:]
        if batch.pair_labels[number] == 0:
            assert first + second == ids
        else:
            assert 0 < len(second) <= len(ids) - len(first)
            assert any(other[: len(second)] == second for other in begins[second[0]])
    labels = batch.pair_labels[batch.pair_labels >= 0]
    assert abs(labels.sum() - len(labels) / 2) < 5 * math.sqrt(len(labels) / 4)


@pytest.mark.parametrize("documents", [[0], [0, 0, 0, 1], [0, 0, 1, 1, 1, 2], [5, 6]])
def test_a_second_half_that_does_not_follow_is_of_another_document(documents):
    """Row r has ids from 20r on, so the second half says which row it is of."""
    spec = ShardSpec(pairs=True, max_length=64, lengths=(20,), vocab_size=60_000, sentence_share=0)
    rows = random_rows(spec, 600, np.random.default_rng(2))
    rows.ids[:] = np.arange(5, 5 + len(rows.ids))
    rows.sentence_starts[10::20] = True
    rows.documents[:] = np.resize(documents, 600)
    _, batch = paired(order=False, rows=rows)
    others = []
    for number in range(600):
        second = halves(batch, number)[1]
        origin = (second[0] - 5) // 20
        assert (origin == number) == (batch.pair_labels[number] == 0)
        if origin != number:
            assert rows.documents[origin] != rows.documents[number]
            assert (second[0] - 5) % 20 == 0, "the beginning of the row"
            others.append(origin)
    if len(documents) == 1:
        assert not others
    else:
        assert abs(len(others) - 300) < 5 * math.sqrt(150)  # |z| < 5: false alarm below 1e-6
        assert len(set(others)) > 80


def test_cuts_are_uniform_over_sentence_starts():
    """Four starts to choose from, 8000 draws: |z| < 5 over four cells, false alarm below 1e-5."""
    spec = ShardSpec(pairs=True, max_length=64, lengths=(50,), sentence_share=0)
    rows = random_rows(spec, 8000, np.random.default_rng(1))
    starts = rows.sentence_starts.reshape(8000, 50)
    starts[:, [10, 20, 30, 45]] = True
    _, batch = paired(order=False, rows=rows)
    cuts = [len(halves(batch, number)[0]) for number in range(8000)]
    counts = np.array([cuts.count(cut) for cut in (10, 20, 30, 45)])
    assert counts.sum() == 8000
    assert np.abs((counts - 2000) / math.sqrt(8000 * 0.25 * 0.75)).max() < 5


def test_pairs_change_with_the_epoch_only():
    _, one = paired(order=True, epoch=0)
    first = one.pair_labels.copy()
    _, again = paired(order=True, epoch=0)
    _, other = paired(order=True, epoch=1)
    assert np.array_equal(first, again.pair_labels)
    assert not np.array_equal(first, other.pair_labels)


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("objective", ["sentence_order", "next_sentence"])
def test_the_loader_hands_out_pairs(tmp_path, layout, objective):
    make_shards(tmp_path, SPEC)
    options = LoaderOptions(4, 64, layout=layout, prefetch=0, **{objective: True})
    dataset = ShardDataset(tmp_path, "train")
    labels, masked = [], 0
    for batch in evaluation_batches(dataset, options):
        assert len(batch.pair_labels) == batch.rows
        labels += batch.pair_labels.tolist()
        masked += len(batch.labels)
        seen = batch.input_ids.reshape(-1)[batch.positions]
        assert not np.isin(batch.labels, (CLS, SEP)).any()
        assert (batch.token_type_ids.max() == 1) == (batch.pair_labels >= 0).any()
        assert len(seen) == len(batch.labels)
    assert len(labels) == len(dataset)
    assert set(labels) == {-100, 0, 1}
    assert masked


def test_shards_without_room_are_refused(tmp_path):
    make_shards(tmp_path, ShardSpec())
    dataset = ShardDataset(tmp_path, "train")
    for objective in ("sentence_order", "next_sentence"):
        with pytest.raises(WholewordError, match=r"build-shards --pairs"):
            Loader(dataset, LoaderOptions(4, 64, **{objective: True}))
