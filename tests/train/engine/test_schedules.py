"""Learning rates over a run."""

import itertools
import math

import pytest

from train.engine.schedules import Schedule


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant", "wsd"])
def test_warmup_rises_to_the_peak_once(kind):
    rate = Schedule(kind, 2.0, 10, 110)
    assert [rate(step) for step in range(10)] == pytest.approx([0.2 * (s + 1) for s in range(10)])
    assert rate(10) == 2.0
    later = [rate(step) for step in range(10, 110)]
    assert all(a >= b > 0 for a, b in itertools.pairwise(later))


def test_values_after_warmup():
    assert Schedule("linear", 1.0, 0, 100)(25) == 0.75
    assert Schedule("cosine", 1.0, 0, 100)(50) == pytest.approx(0.5)
    assert Schedule("constant", 1.0, 0, 100)(99) == 1
    wsd = Schedule("wsd", 1.0, 0, 100)
    assert wsd(80) == 1
    assert wsd(85) == pytest.approx(1 - math.sqrt(0.25))
    assert wsd(95) == pytest.approx(1 - math.sqrt(0.75))
