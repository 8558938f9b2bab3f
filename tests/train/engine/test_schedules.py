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


def test_the_schedule_follows_the_heads_warmup():
    plain = Schedule("linear", 0.1, 10, 100)
    headed = Schedule("linear", 0.1, 10, 120, head_steps=20)
    assert [headed(step + 20) for step in range(100)] == [plain(step) for step in range(100)]
    assert [headed(0), headed(1), headed(19)] == [0.05, 0.1, 0.1]
    assert Schedule("linear", 1e-5, 0, 30, head_steps=20)(19) == 1e-3
    assert [headed.trains_new_alone(step) for step in (0, 19, 20)] == [True, True, False]


def test_values_after_warmup():
    assert Schedule("linear", 1.0, 0, 100)(25) == 0.75
    assert Schedule("cosine", 1.0, 0, 100)(50) == pytest.approx(0.5)
    assert Schedule("constant", 1.0, 0, 100)(99) == 1
    wsd = Schedule("wsd", 1.0, 0, 100)
    assert wsd(80) == 1
    assert wsd(85) == pytest.approx(1 - math.sqrt(0.25))
    assert wsd(95) == pytest.approx(1 - math.sqrt(0.75))
