import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.packing import PackingPlan, count_packs, group_rows, pack_rows, padded_width


def best_fit_decreasing(lengths, capacity):
    """The rule, in plain Python: how many packs, and the room left in each."""
    rooms = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms.remove(min(fitting))
            rooms.append(min(fitting) - length)
        else:
            rooms.append(capacity - length)
    return sorted(rooms)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 200), max_size=80), st.sampled_from([200, 255, 256, 1000]))
def test_packs_are_those_of_best_fit_decreasing(lengths, capacity):
    lengths = np.array(lengths, np.int64)
    plan = pack_rows(lengths, capacity)
    packs = [plan.pack(number) for number in range(len(plan))]
    assert sorted(np.concatenate([[], *packs])) == list(range(len(lengths)))
    rooms = sorted(capacity - int(lengths[pack].sum()) for pack in packs)
    assert rooms == best_fit_decreasing(lengths.tolist(), capacity)
    assert count_packs(lengths, capacity) == len(plan)


def test_shuffling_keeps_packs_and_is_a_function_of_its_key():
    plan = pack_rows(np.random.default_rng(0).integers(1, 100, 500), 400)
    shuffled = plan.shuffled(1, 2, 3)

    def packs(plan: PackingPlan) -> list[tuple[int, ...]]:
        return [tuple(plan.pack(number)) for number in range(len(plan))]

    assert packs(shuffled) != packs(plan)
    assert sorted(packs(shuffled)) == sorted(packs(plan))
    assert packs(shuffled) == packs(plan.shuffled(1, 2, 3))
    assert packs(shuffled) != packs(plan.shuffled(1, 2, 4))


@pytest.mark.parametrize("max_length", [128, 510])
def test_padded_groups_fit_and_are_of_like_length(max_length):
    lengths = np.random.default_rng(1).integers(3, max_length + 1, 1000)
    capacity = 8 * max_length
    plan = group_rows(lengths, capacity, max_length)
    assert sorted(plan.rows) == list(range(1000))
    cells = 0
    for number in range(len(plan)):
        longest = lengths[plan.pack(number)].max()
        width = padded_width(int(longest), max_length)
        assert longest == lengths[plan.pack(number)[0]]
        assert longest <= width <= max_length
        assert len(plan.pack(number)) * width <= capacity
        cells += len(plan.pack(number)) * width
    assert lengths.sum() / cells > 0.9


@pytest.mark.parametrize(("max_length", "mean"), [(128, 100), (512, 285)])
def test_realistic_lengths_leave_little_padding(max_length, mean):
    """Most documents end within a row, so lengths are cut exponentials with a peak at the end."""
    rng = np.random.default_rng(2)
    lengths = np.minimum(max_length, 3 + rng.exponential(mean, 4096).astype(np.int64))
    plan = pack_rows(lengths, 8 * max_length)
    assert lengths.sum() / (len(plan) * 8 * max_length) > 0.98
