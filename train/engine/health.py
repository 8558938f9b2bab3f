"""Notices when training has gone wrong for good."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from preprocess.errors import WholewordError
from train.engine.precision import can_scale_fall

OVERFLOWS = 50
"""Skipped steps in a row that end a run: a loss scale of 2^32 needs 33 to come down to 1."""
OVERFLOWS_AT_MINIMUM = 10
"""The same where the loss scale cannot fall any more."""
BROKEN_LOSSES = 10
"""Steps in a row whose loss is not a number that end a run in fp16; elsewhere one does."""


@dataclass(frozen=True)
class _Pending:
    """A step's loss and gradient norm on their way from the GPU."""

    values: Tensor
    """fp64 `[2]`, on the CPU; to be read once `event` has come."""
    event: Any

    @property
    def is_here(self) -> bool:
        return self.event is None or self.event.query()


class HealthMonitor:
    """Watches the losses and the skipped steps of one rank.

    In fp16 a step whose gradient overflows is skipped and the loss scale halved, which is normal;
    `OVERFLOWS` such steps in a row are not, or `OVERFLOWS_AT_MINIMUM` at the smallest scale. A loss
    that is not a number comes from the forward pass, which knows no scale: one batch may do that in
    fp16, `BROKEN_LOSSES` in a row mean that the weights are broken. In bf16 and fp32 a loss or a
    gradient that is not a number is the end.

    On a GPU nothing here waits but `is_sound`: a broken step is noticed one or two steps later.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._losses: list[Tensor] = []
        self._pending: list[_Pending] = []
        self._overflows = 0
        self._overflows_at_minimum = 0
        self._broken = 0

    def add_loss(self, loss_sum: Tensor) -> None:
        """Take note of this rank's loss in a micro-batch: a scalar, without a gradient."""
        self._losses.append(loss_sum)

    def observe_step(self) -> None:
        """Take note that a step is over, whose micro-batches were all added."""
        loss = torch.stack(self._losses).sum().double()
        self._losses = []
        self._count_overflow(not self._engine.was_step_applied())
        norm = None if self._engine.fp16_enabled() else self._engine.get_global_grad_norm()
        # new_ones is made on the GPU; new_tensor would copy a number there, and wait.
        norm = loss.new_ones(()) if norm is None else torch.as_tensor(norm).to(loss)
        self._pending.append(_to_cpu(torch.stack([loss, norm])))

    @property
    def diverged(self) -> bool:
        """Whether training has gone wrong for good, as far as is known without waiting."""
        while self._pending and self._pending[0].is_here:
            self._read(self._pending.pop(0))
        limit = BROKEN_LOSSES if self._engine.fp16_enabled() else 1
        return self._overflows_for_good or self._broken >= limit

    def _count_overflow(self, overflow: bool) -> None:
        self._overflows = self._overflows + 1 if overflow else 0
        stuck = overflow and not can_scale_fall(self._engine)
        self._overflows_at_minimum = self._overflows_at_minimum + 1 if stuck else 0

    @property
    def _overflows_for_good(self) -> bool:
        stuck = self._overflows_at_minimum >= OVERFLOWS_AT_MINIMUM
        return stuck or self._overflows >= OVERFLOWS

    def is_sound(self) -> bool:
        """Whether the last step's loss (and gradient norm) is a number; waits for the GPU."""
        for pending in self._pending:
            if pending.event is not None:
                pending.event.synchronize()
            self._read(pending)
        self._pending = []
        return self._broken == 0

    def _read(self, pending: _Pending) -> None:
        finite = all(map(math.isfinite, pending.values.tolist()))
        self._broken = 0 if finite else self._broken + 1

    def error(self, step: int, checkpoint: str) -> WholewordError:
        """What to say when any rank has diverged at `step`."""
        cause = "the loss or its gradient is not a number"
        if self._overflows_for_good:
            cause = f"{self._overflows} steps in a row overflowed in fp16"
        return WholewordError(
            f"step {step}: {cause}; lower --learning-rate and continue with --allow-changes, from "
            "an older --resume-from-checkpoint if it comes back, or start another run in another "
            f"--precision ({checkpoint})"
        )


def _to_cpu(values: Tensor) -> _Pending:
    """Start a copy to the CPU."""
    if values.device.type != "cuda":
        return _Pending(values, None)
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values, non_blocking=True)
    event = torch.cuda.Event()
    event.record()
    return _Pending(host, event)
