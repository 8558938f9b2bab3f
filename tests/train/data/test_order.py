import numpy as np
import pytest

from train.data.order import BATCHES, ROWS, epoch_windows, permutation, raw_numbers, windows_of

GOLDEN = [9821296096956282286, 17070427128266158492]


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_permutations_hold_everything_once(count):
    assert sorted(permutation(count, 1, 2, ROWS, 3)) == list(range(count))


def test_permutations_are_functions_of_all_they_are_given():
    base = permutation(100, 1, 2, ROWS, 3)
    assert np.array_equal(base, permutation(100, 1, 2, ROWS, 3))
    others = [
        permutation(100, 2, 2, ROWS, 3),
        permutation(100, 1, 3, ROWS, 3),
        permutation(100, 1, 2, BATCHES, 3),
        permutation(100, 1, 2, ROWS, 4),
    ]
    assert not any(np.array_equal(base, other) for other in others)


def test_raw_numbers_are_golden():
    """Another stream would change the order of every run that is to be repeated."""
    assert raw_numbers(2, 42, 3, ROWS, 7).tolist() == GOLDEN


def test_permutations_are_uniform():
    """Each place of each value, 6000 draws: |z| < 5 over 25 cells, false alarm below 2e-5."""
    counts = np.zeros((5, 5))
    for epoch in range(6000):
        counts[np.arange(5), permutation(5, 0, epoch, ROWS)] += 1
    assert np.abs((counts - 1200) / np.sqrt(6000 * 0.2 * 0.8)).max() < 5


def test_windows_have_their_rows_and_the_rest_joins_the_last():
    rows = np.array([100, 50, 60, 10, 90, 30, 20])
    windows = windows_of(rows, np.arange(7), 100)
    assert [window.tolist() for window in windows] == [[0], [1, 2], [3, 4, 5, 6]]
    assert [w.tolist() for w in windows_of(rows, np.arange(7), 10_000)] == [list(range(7))]
    assert windows_of(rows[:0], np.arange(0), 10) == []


def test_epochs_shuffle_batches_across_shards():
    rows = np.full(50, 10)
    first, second = (np.concatenate(epoch_windows(rows, 0, epoch, 40)) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(50))
    assert not np.array_equal(first, second)
    assert all(len(window) == 4 for window in epoch_windows(rows, 0, 0, 40)[:-1])
