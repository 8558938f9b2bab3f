"""How long an adaptation is: rules of size alone."""

import pytest

from train.adapt.commands import batch_for
from train.adapt.rules import QUICK_FLOPS, make_schedule, vocabulary_size


def schedule(tokens, *, hidden=768, flops=6e8, **given):
    settings = {"is_new": False, "mixes": False, "quick": False} | given
    return make_schedule(tokens, 128, hidden, flops, **settings)


def test_the_published_protocols_are_the_ends_of_the_rule():
    small, large = schedule(200_000), schedule(500_000_000)
    assert (small.passes, small.tokens, small.learning_rate) == (100, 20_000_000, 1e-4)
    assert (large.passes, large.rows) == (1, 256)
    assert large.steps == -(-500_000_000 // (256 * 128))


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize("tokens", [30_000, 1_000_000, 3_000_000, 40_000_000])
def test_batches_are_small_where_steps_would_be_few(tokens, is_new):
    made = schedule(tokens, is_new=is_new)
    least = 4000 if is_new else 1000
    assert made.rows == 16 or made.steps >= least
    assert made.rows == 256 or made.tokens < 2 * made.rows * 128 * least
    assert made.rows % made.micro_rows == 0
    assert (made.steps - 1) * made.rows * 128 < made.tokens <= made.steps * made.rows * 128


@pytest.mark.parametrize("max_length", [16, 48, 100, 128, 500])
@pytest.mark.parametrize("tokens", [30_000, 500_000_000])
@pytest.mark.parametrize("devices", [1, 2, 3, 5, 6, 7, 8, 32])
def test_any_number_of_devices_divides_the_batch(max_length, tokens, devices):
    made = make_schedule(tokens, max_length, 768, 6e8, is_new=False, mixes=False, quick=False)
    micro, rows = batch_for(made, devices)
    assert 0 < micro <= made.micro_rows
    assert rows % (micro * devices) == 0
    assert rows == max(made.rows, devices) or (devices & (devices - 1) and rows > made.rows / 2)


def test_new_models_read_more_and_narrow_ones_learn_faster():
    assert schedule(1_000_000, is_new=True).passes == 100
    assert schedule(1_000_000).passes == 20
    assert schedule(1_000_000, is_new=True).learning_rate == 1e-3
    assert schedule(1_000_000, is_new=True, hidden=128).learning_rate == 2e-3


def test_general_text_is_a_fifth_beside_the_same_passes():
    alone, mixed = schedule(1_000_000), schedule(1_000_000, mixes=True)
    assert mixed.passes == alone.passes
    assert mixed.tokens == pytest.approx(alone.tokens / 0.8)


def test_quick_bounds_the_arithmetic_and_what_is_asked_for_wins():
    assert schedule(1_000_000, quick=True).tokens * 6e8 <= QUICK_FLOPS
    made = schedule(1_000_000, quick=True, passes=7.0, learning_rate=3e-4)
    assert (made.passes, made.learning_rate) == (7, 3e-4)


def test_a_vocabulary_grows_with_its_text():
    sizes = [vocabulary_size(n) for n in (1000, 8_400_000, 1_000_000_000)]
    assert sizes == [6000, 8000, 30_000]
