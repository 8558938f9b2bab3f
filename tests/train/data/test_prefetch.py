import threading

import pytest

from train.data.prefetch import prefetched


def thread_count():
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


@pytest.mark.parametrize("depth", [0, 1, 8])
def test_items_come_in_order_and_the_thread_ends(depth):
    assert list(prefetched(lambda: iter(range(100)), depth)) == list(range(100))
    assert thread_count() == 0


@pytest.mark.parametrize("depth", [0, 1, 8])
def test_an_error_comes_where_its_item_would(depth):
    def make():
        yield 1
        yield 2
        raise ValueError("boom")

    items = prefetched(make, depth)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="boom"):
        next(items)
    assert thread_count() == 0


@pytest.mark.parametrize("depth", [1, 8])
def test_closing_ends_the_thread(depth):
    made = []

    def make():
        for number in range(1000):
            made.append(number)
            yield number

    items = prefetched(make, depth)
    assert next(items) == 0
    assert thread_count() == 1
    items.close()
    assert thread_count() == 0
    assert len(made) <= depth + 3


def test_nothing_starts_before_the_first_item_is_asked_for():
    items = prefetched(lambda: iter([1]), 2)
    assert thread_count() == 0
    items.close()
