"""When training has gone wrong for good."""

import torch

from train.engine.health import PATIENCE, HealthMonitor


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


def test_overflow_is_borne_for_a_while_only():
    engine = Engine(True)
    engine.applied = False
    health = HealthMonitor(engine)
    for step in range(PATIENCE):
        assert not health.diverged, step
        health.add_loss(torch.tensor(float("inf")))
        health.observe_step()
    assert health.diverged
    engine.applied = True
    health.add_loss(torch.tensor(1.0))
    health.observe_step()
    assert not health.diverged
