"""Kernels against their plain-Python twin, and the distributions that they promise.

Each statistical check is a z-test whose bound of 5 has a false-alarm rate below 1e-6; seeds are
fixed, so that it fails always or never.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.errors import WholewordError
from preprocess.write.shards import Rows
from tests.train.data import masking_reference
from tests.train.shard_factory import (
    MASK,
    ShardSpec,
    memory_manifest,
    memory_table,
    random_rows,
)
from train.data.collate import Collator, make_buffers
from train.data.masking import (
    NGRAM_LENGTHS,
    ONE,
    SPAN_LENGTHS,
    STRATEGIES,
    make_masking,
    random_ids,
)

BOUND = 5.0

# Of the 96 tokens of row 12345 in epoch 3 under seed 42: (place, id that the model sees).
GOLDEN = {
    "wwm": [
        (0, 4),
        (1, 4),
        (24, 4),
        (25, 4),
        (35, 4),
        (36, 4),
        (37, 418),
        (38, 4),
        (39, 4),
        (40, 4),
        (41, 4),
    ],
    "token": [
        (0, 4),
        (12, 4),
        (24, 4),
        (35, 4),
        (38, 4),
        (39, 4),
        (40, 418),
        (41, 4),
        (44, 4),
        (53, 4),
        (61, 4),
        (73, 4),
    ],
    "span": [
        (24, 4),
        (25, 4),
        (26, 4),
        (27, 4),
        (28, 4),
        (29, 4),
        (30, 418),
        (31, 4),
        (32, 4),
        (33, 4),
        (34, 4),
        (38, 4),
        (39, 4),
        (40, 4),
        (41, 4),
    ],
    "ngram": [(24, 4), (25, 4), (26, 4), (27, 4), (28, 4), (29, 4), (38, 418), (39, 4)],
}


def mask(rows, masking, seed=0, epoch=0, first=0, max_length=512, vocab_size=1000):
    """Flat arrays over the rows' tokens: what the model sees, and what was chosen."""
    spec = ShardSpec(max_length=max_length, vocab_size=vocab_size)
    size = len(rows.ids) + 2 * len(rows)
    table, keep = memory_table(rows, first)
    collator = Collator(memory_manifest(spec))
    batch = collator.pack(table, make_buffers(size, len(rows)), size, masking, seed, epoch)
    chosen = np.zeros(size, np.bool_)
    chosen[batch.positions] = True
    inner = np.ones(size, np.bool_)
    inner[batch.cu_seqlens[:-1]] = inner[batch.cu_seqlens[1:] - 1] = False
    assert not chosen[~inner].any(), "a special token was chosen"
    assert np.array_equal(batch.labels, rows.ids[chosen[inner]])
    del keep
    return batch.input_ids[0, inner], chosen[inner]


def words_only(rows, length):
    """Rows of `length` tokens, each a word."""
    tokens = rows * length
    ids = np.full(tokens, 7, np.uint16)
    starts = np.ones(tokens, np.bool_)
    offsets = np.arange(rows + 1) * length
    return Rows(ids, starts, starts, offsets.astype(np.int64), np.arange(rows))


def z_of_share(hits, count, share):
    return (hits - count * share) / math.sqrt(count * share * (1 - share))


def z_of_histogram(counts, shares):
    """Chi-square of counts against shares, as a normal deviate."""
    expected = counts.sum() * shares
    freedom = len(counts) - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


@settings(max_examples=60, deadline=None)
@given(
    strategy=st.sampled_from(STRATEGIES),
    probability=st.sampled_from([0.0, 0.01, 0.15, 0.3, 0.5, 0.6]),
    seed=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 2**32 - 1),
    first=st.integers(0, 2**40),
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=4),
    wide=st.booleans(),
)
def test_kernel_equals_twin(strategy, probability, seed, epoch, first, lengths, wide):
    vocab_size = 100_000 if wide else 1000
    spec = ShardSpec(vocab_size=vocab_size, lengths=tuple(lengths), max_length=302)
    rows = random_rows(spec, len(lengths), np.random.default_rng(seed & 0xFFFF))
    masking = make_masking(strategy, probability, (0.6, 0.3, 0.1))
    seen, chosen = mask(rows, masking, seed, epoch, first, 302, vocab_size)
    others = random_ids(vocab_size, (0, 1, 2, 3, 4)).tolist()
    for number in range(len(rows)):
        part = slice(rows.offsets[number], rows.offsets[number + 1])
        numbers = masking_reference.RowNumbers(seed, epoch, first + number)
        expected = masking_reference.choose(masking, rows.word_starts[part].tolist(), numbers)
        assert chosen[part].tolist() == expected
        assert seen[part].tolist() == masking_reference.replace(
            masking, rows.ids[part].tolist(), expected, MASK, others, numbers
        )


def test_draw_layout_is_golden():
    """Changing the layout changes every mask of every run that is to be repeated."""
    starts = [True, False, True, True, False, False, True, True] * 12
    for strategy in STRATEGIES:
        rows = Rows(
            np.arange(5, 101).astype(np.uint16),
            np.array(starts),
            np.array(starts),
            np.array([0, 96]),
            np.zeros(1, np.int64),
        )
        seen, chosen = mask(rows, make_masking(strategy, 0.15), seed=42, epoch=3, first=12345)
        changed = [(int(i), int(seen[i])) for i in np.flatnonzero(chosen)]
        assert changed == GOLDEN[strategy]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_share_of_tokens_is_p(strategy):
    spec = ShardSpec(max_length=256)
    rows = random_rows(spec, 4000, np.random.default_rng(1))
    for probability in (0.15, 0.4):
        _, chosen = mask(rows, make_masking(strategy, probability), seed=1)
        lengths = np.diff(rows.offsets)
        excess = np.add.reduceat(chosen, rows.offsets[:-1]) - probability * lengths
        assert abs(excess.sum() / math.sqrt((excess**2).sum())) < BOUND


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_place_is_chosen_alike(strategy):
    """The first word too; in `span` and `ngram` this is what stationarity means."""
    rows, length, probability = 20_000, 40, 0.15
    _, chosen = mask(words_only(rows, length), make_masking(strategy, probability), seed=2)
    by_place = chosen.reshape(rows, length).sum(axis=0)
    assert np.abs(z_of_share(by_place, rows, probability)).max() < BOUND + 0.5


@pytest.mark.parametrize(
    ("strategy", "weights"), [("span", SPAN_LENGTHS), ("ngram", NGRAM_LENGTHS)]
)
def test_runs_have_their_lengths(strategy, weights):
    rows, length = 20, 60_000
    masking = make_masking(strategy, 0.15)
    _, chosen = mask(words_only(rows, length), masking, seed=3, max_length=length + 2)
    counts = np.zeros(len(weights), np.int64)
    for row in chosen.reshape(rows, length):
        edges = np.flatnonzero(np.diff(row.astype(np.int8), prepend=0, append=0))
        runs = np.diff(edges)[::2][1:-1]  # whole ones
        counts += np.bincount(runs - 1, minlength=len(weights))
    assert counts.sum() > 40_000
    assert abs(z_of_histogram(counts, np.array(weights) / sum(weights))) < BOUND


def test_words_are_chosen_whole():
    rows = random_rows(ShardSpec(max_length=512), 500, np.random.default_rng(4))
    word = np.cumsum(rows.word_starts) - 1
    for strategy in ("wwm", "span", "ngram"):
        _, chosen = mask(rows, make_masking(strategy, 0.15), seed=4)
        sizes = np.bincount(word)
        of_word = np.bincount(word, weights=chosen)
        assert ((of_word == 0) | (of_word == sizes)).all()
        assert of_word.sum() > 0
    _, chosen = mask(rows, make_masking("token", 0.15), seed=4)
    of_word = np.bincount(word, weights=chosen)
    assert ((of_word > 0) & (of_word < np.bincount(word))).any()


def test_replacements_are_80_10_10_and_uniform():
    rows = words_only(2000, 500)
    seen, chosen = mask(rows, make_masking("wwm", 0.15), seed=5)
    count = int(chosen.sum())
    masked = int((seen[chosen] == MASK).sum())
    kept = int((seen[chosen] == 7).sum())
    assert abs(z_of_share(masked, count, 0.8)) < BOUND
    assert abs(z_of_share(kept, count, 0.1 + 0.1 / 995)) < BOUND
    assert np.array_equal(seen[~chosen], rows.ids[~chosen])
    seen, chosen = mask(rows, make_masking("wwm", 0.5, (0.0, 1.0, 0.0)), seed=5)
    counts = np.bincount(seen[chosen], minlength=1000)
    assert counts[:5].sum() == 0, "a special id as replacement"
    assert abs(z_of_histogram(counts[5:], np.full(995, 1 / 995))) < BOUND


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_epochs_rows_and_seeds_are_independent(strategy):
    rows, probability = words_only(2000, 200), 0.15
    masking = make_masking(strategy, probability)

    def chosen(**key):
        return mask(rows, masking, **key)[1].reshape(2000, 200)

    first = chosen(seed=6)
    pairs = {
        "epoch": (first, chosen(seed=6, epoch=1)),
        "seed": (first, chosen(seed=7)),
        "high half of the seed": (first, chosen(seed=6 + (1 << 32))),
        "row": (first[1:], first[:-1]),
    }
    for name, (one, other) in pairs.items():
        common = (one & other).sum(axis=1) - probability**2 * 200
        assert abs(common.sum() / math.sqrt((common**2).sum())) < BOUND, name
    assert np.array_equal(first, chosen(seed=6))


@pytest.mark.parametrize("strategy", ["wwm", "token"])
def test_a_higher_p_only_adds(strategy):
    rows = random_rows(ShardSpec(max_length=512), 200, np.random.default_rng(7))
    before = np.zeros(len(rows.ids), np.bool_)
    for probability in (0.0, 0.1, 0.15, 0.1501, 0.5, 1.0):
        _, chosen = mask(rows, make_masking(strategy, probability), seed=8)
        assert (chosen | ~before).all()
        before = chosen
    assert before.all()


def test_thresholds():
    masking = make_masking("wwm", 0.15, (0.8, 0.1, 0.1))
    assert masking.choose_below == round(0.15 * ONE)
    assert (masking.mask_below, masking.random_below) == (round(0.8 * ONE), round(0.9 * ONE))
    ngram = make_masking("ngram", 0.15)
    assert ngram.choose_below == round(0.15 / (2 * 0.85) * ONE)  # E[length] = 2
    assert ngram.lengths == (round(0.4 * ONE), round(0.7 * ONE), round(0.9 * ONE), ONE)
    assert ngram.rests == (ONE // 2, round(0.8 * ONE), round(0.95 * ONE), ONE)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("words", 0.15), "--masking"),
        (("wwm", 1.5), "--mlm-probability"),
        (("wwm", float("nan")), "--mlm-probability"),
        (("ngram", 0.7), "at most 0.67"),
        (("span", 0.8), "at most"),
        (("wwm", 0.15, (0.8, 0.1, 0.2)), "--mask-replace"),
        (("wwm", 0.15, (0.8, 0.3, -0.1)), "--mask-replace"),
    ],
)
def test_impossible_maskings_are_refused(arguments, named):
    with pytest.raises(WholewordError, match=named):
        make_masking(*arguments)
