import numpy as np
import pytest

from tests.train.shard_factory import (
    CLS,
    MASK,
    PAD,
    SEP,
    ShardSpec,
    memory_manifest,
    memory_table,
    random_rows,
)
from train.data.collate import Collator, make_buffers
from train.data.masking import STRATEGIES, make_masking

SPEC = ShardSpec(max_length=64)
SIZE = 1024


@pytest.fixture
def rows():
    return random_rows(SPEC, 20, np.random.default_rng(0))


def dirty_buffers():
    buffers = make_buffers(4096, 64)
    for array in buffers:
        array[:] = 77
    buffers.token_type_ids[:] = 0  # written only with a pair objective
    return buffers


def restored(batch):
    ids = batch.input_ids.copy().reshape(-1)
    ids[batch.positions] = batch.labels
    return ids.reshape(batch.input_ids.shape)


def test_a_pack_is_rows_end_to_end(rows):
    table, _keep = memory_table(rows)
    batch = Collator(memory_manifest(SPEC)).pack(
        table, dirty_buffers(), SIZE, make_masking("wwm", 0.3), 1, 0
    )
    ids = restored(batch)[0]
    assert batch.input_ids.shape == batch.position_ids.shape == (1, SIZE)
    assert batch.token_type_ids.shape == (1, SIZE)
    assert batch.attention_mask is None
    assert batch.pair_labels is None
    assert batch.rows == 20
    assert batch.tokens == batch.cu_seqlens[-1] == len(rows.ids) + 40
    assert np.array_equal(np.diff(batch.cu_seqlens), np.diff(rows.offsets) + 2)
    for number, (begin, end) in enumerate(
        zip(batch.cu_seqlens[:-1], batch.cu_seqlens[1:], strict=True)
    ):
        own = rows.ids[rows.offsets[number] : rows.offsets[number + 1]]
        assert ids[begin:end].tolist() == [CLS, *own.tolist(), SEP]
        assert batch.position_ids[0, begin:end].tolist() == list(range(end - begin))
    assert (ids[batch.tokens :] == PAD).all()
    assert (batch.position_ids[0, batch.tokens :] == 0).all()
    assert (batch.token_type_ids == 0).all()
    assert batch.input_ids.dtype == batch.positions.dtype == batch.labels.dtype == np.int64
    assert batch.cu_seqlens.dtype == batch.words.dtype == np.int32


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_padded_rows_have_the_masks_of_packed_ones(rows, strategy):
    table, _keep = memory_table(rows)
    collator = Collator(memory_manifest(SPEC))
    masking = make_masking(strategy, 0.3)
    packed = collator.pack(table, make_buffers(4096, 64), SIZE, masking, 1, 0)
    padded = collator.pad(table, dirty_buffers(), 64, masking, 1, 0)
    assert padded.cu_seqlens is None
    assert padded.input_ids.shape == padded.attention_mask.shape == (20, 64)
    for number in range(20):
        begin, end = packed.cu_seqlens[number : number + 2]
        length = end - begin
        assert np.array_equal(padded.input_ids[number, :length], packed.input_ids[0, begin:end])
        assert padded.position_ids[number, :length].tolist() == list(range(length))
        assert (padded.input_ids[number, length:] == PAD).all()
        assert padded.attention_mask[number].tolist() == [1] * length + [0] * (64 - length)
    assert np.array_equal(padded.labels, packed.labels)
    assert np.array_equal(padded.words, packed.words)
    assert np.array_equal(restored(padded)[padded.attention_mask == 1], restored(packed)[0, :end])
    assert padded.tokens == packed.tokens


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_words_number_the_masked_words(rows, strategy):
    table, _keep = memory_table(rows)
    batch = Collator(memory_manifest(SPEC)).pack(
        table, make_buffers(4096, 64), SIZE, make_masking(strategy, 0.4), 1, 0
    )
    word_of = np.full(SIZE, -1)
    word = -1
    for number in range(20):
        begin = batch.cu_seqlens[number] + 1
        for place, start in enumerate(
            rows.word_starts[rows.offsets[number] : rows.offsets[number + 1]]
        ):
            word += start
            word_of[begin + place] = word
    _, expected = np.unique(word_of[batch.positions], return_inverse=True)
    assert batch.words.tolist() == expected.tolist()


def test_an_empty_batch_is_padding(rows):
    table, _keep = memory_table(rows)
    collator = Collator(memory_manifest(SPEC))
    masking = make_masking("wwm", 0.15)
    packed = collator.pack(table[:0], dirty_buffers(), SIZE, masking, 1, 0)
    assert (packed.rows, packed.tokens, len(packed.labels)) == (0, 0, 0)
    assert packed.cu_seqlens.tolist() == [0]
    assert (packed.input_ids == PAD).all()
    padded = collator.pad(table[:0], dirty_buffers(), 8, masking, 1, 0)
    assert padded.input_ids.tolist() == [[PAD] * 8]
    assert padded.attention_mask.tolist() == [[1] + [0] * 7]


def test_masks_stay_when_a_row_moves(rows):
    """A mask depends on the row's number, not on its neighbours or its place."""
    table, _keep = memory_table(rows)
    collator = Collator(memory_manifest(SPEC))
    masking = make_masking("wwm", 0.3)
    whole = collator.pack(table, make_buffers(4096, 64), SIZE, masking, 1, 5)
    begin, end = whole.cu_seqlens[7:9]
    alone = collator.pack(table[7:8], make_buffers(4096, 64), SIZE, masking, 1, 5)
    assert np.array_equal(alone.input_ids[0, : end - begin], whole.input_ids[0, begin:end])
    assert MASK in alone.input_ids
