"""Notices when training has gone wrong for good."""

import math
from typing import Any

import torch
from torch import Tensor

from preprocess.errors import WholewordError
from train.engine.optimizer import gradient_norm

PATIENCE = 50  # skipped steps in a row; a loss scale of 2^16 needs 16 to come down to 1


class HealthMonitor:
    """Watches the losses and the skipped steps of one rank.

    In fp16 a step whose gradient overflows is skipped and the loss scale halved, which is normal;
    `PATIENCE` such steps in a row are not. Elsewhere a loss or gradient that is not a number is
    the end, and must be noticed before the next checkpoint is written.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._losses: list[Tensor] = []
        self._step_loss: Tensor | None = None
        self._skipped = 0

    def add_loss(self, loss_sum: Tensor) -> None:
        """Take note of this rank's loss in a micro-batch: a scalar, without a gradient."""
        self._losses.append(loss_sum)

    def observe_step(self) -> None:
        """Take note that a step is over, whose micro-batches were all added."""
        self._step_loss = torch.stack(self._losses).sum()
        self._losses = []
        self._skipped = 0 if self._engine.was_step_applied() else self._skipped + 1

    @property
    def diverged(self) -> bool:
        """Whether the last step's loss or gradient is not a number. Waits for the GPU."""
        if self._step_loss is None or self._engine.fp16_enabled():
            return self._skipped >= PATIENCE
        norm = gradient_norm(self._engine)
        finite = math.isfinite(float(self._step_loss)) and (norm is None or math.isfinite(norm))
        return not finite or self._skipped >= PATIENCE

    def error(self, step: int, checkpoint: str) -> WholewordError:
        """What to say when any rank has diverged at `step`."""
        cause = (
            f"{self._skipped} steps in a row overflowed"
            if self._skipped >= PATIENCE
            else "the loss or its gradient is not a number"
        )
        return WholewordError(
            f"step {step}: {cause}; lower --learning-rate and continue with --allow-changes, from "
            "an older --resume-from-checkpoint if it comes back, or begin another run in another "
            f"--precision ({checkpoint})"
        )
