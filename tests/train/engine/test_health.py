"""When training has gone wrong for good."""

from types import SimpleNamespace

import torch

from train.engine import health as health_module
from train.engine.health import BROKEN_LOSSES, OVERFLOWS, OVERFLOWS_AT_MINIMUM, HealthMonitor


class Engine:
    def __init__(self, fp16, norm=1.0):
        self.fp16, self.norm, self.applied = fp16, norm, True

    def fp16_enabled(self):
        return self.fp16

    def was_step_applied(self):
        return self.applied

    def get_global_grad_norm(self):
        return self.norm


def observed(engine, loss):
    health = HealthMonitor(engine)
    health.add_loss(torch.tensor(loss))
    health.observe_step()
    return health


def test_what_is_not_a_number_is_the_end():
    assert not observed(Engine(False), 1.0).diverged
    assert observed(Engine(False), float("nan")).diverged
    assert observed(Engine(False, norm=float("inf")), 1.0).diverged
    assert not observed(Engine(False, norm=None), 1.0).diverged
    assert "step 7: the loss or its gradient is not a number" in str(
        observed(Engine(False), float("nan")).error(7, "none")
    )


def observe(health, loss):
    health.add_loss(torch.tensor(loss))
    health.observe_step()


def test_overflows_are_normal_for_a_while_only():
    engine = Engine(True)
    engine.applied = False
    health = HealthMonitor(engine)
    for step in range(OVERFLOWS):
        assert not health.diverged, step
        observe(health, 1.0)
        assert health.is_sound()
    assert health.diverged
    assert "50 steps in a row overflowed" in str(health.error(50, "none"))
    engine.applied = True
    observe(health, 1.0)
    assert not health.diverged


def test_at_the_smallest_scale_overflows_end_a_run_sooner():
    engine = Engine(True)
    engine.applied = False
    scaler = SimpleNamespace(dynamic=True, cur_scale=2.0, min_scale=1.0)
    engine.optimizer = SimpleNamespace(loss_scaler=scaler)
    health = HealthMonitor(engine)
    for _ in range(3):
        observe(health, 1.0)
    scaler.cur_scale = 1.0
    for step in range(OVERFLOWS_AT_MINIMUM):
        assert not health.diverged, step
        observe(health, 1.0)
    assert health.diverged
    assert "13 steps in a row overflowed" in str(health.error(13, "none"))
    fixed = HealthMonitor(engine)
    scaler.dynamic = False
    for _ in range(OVERFLOWS_AT_MINIMUM):
        observe(fixed, 1.0)
    assert fixed.diverged


def test_in_fp16_a_loss_that_is_no_number_is_never_sound_and_ends_a_run_soon():
    engine = Engine(True)
    engine.applied = False
    health = HealthMonitor(engine)
    observe(health, float("inf"))
    assert not health.is_sound() and not health.diverged
    observe(health, 1.0)
    assert health.is_sound()
    for step in range(BROKEN_LOSSES):
        assert not health.diverged, step
        observe(health, float("nan"))
    assert health.diverged
    assert "is not a number" in str(health.error(10, "none"))


def test_any_micro_batch_can_break_a_step():
    health = HealthMonitor(Engine(False))
    health.add_loss(torch.tensor(float("nan")))
    observe(health, 1.0)
    assert health.diverged


class Event:
    """A CUDA event that comes when it is waited for."""

    def __init__(self):
        self.came = False

    def query(self):
        return self.came

    def synchronize(self):
        self.came = True


def test_nothing_waits_for_a_gpu_but_the_question_before_saving(monkeypatch):
    events = []

    def slow(values):
        events.append(Event())
        return health_module._Pending(values, events[-1])

    monkeypatch.setattr(health_module, "_to_cpu", slow)
    health = HealthMonitor(Engine(False))
    observe(health, float("nan"))
    assert not health.diverged and not events[0].came
    assert not health.is_sound()
    assert events[0].came and health.diverged
