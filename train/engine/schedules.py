"""The learning rate as a function of the step."""

import math
from dataclasses import dataclass

WSD_DECAY = 0.2  # share of the steps in which wsd decays (Hägele et al., 2024, use 10 to 20%)
HEAD_RATE = 1e-3
"""The least rate of new weights while they are trained alone: nothing pretrained can be harmed."""


@dataclass(frozen=True)
class Schedule:
    """A learning rate over a run."""

    kind: str
    """One of "linear", "cosine", "constant" and "wsd"."""
    peak: float
    """The highest rate."""
    warmup: int
    """Steps in which it rises linearly from 0 (step 0 has 1 / warmup of it)."""
    total: int
    """Steps of the run."""
    head_steps: int = 0
    """Steps at the beginning in which new weights are trained alone; the rest of the schedule
    follows them as if the run began there."""

    def __call__(self, step: int) -> float:
        """The rate of the step after `step` steps that changed the weights."""
        if step < self.head_steps:
            rise = max(1, self.head_steps // 10)
            return max(self.peak, HEAD_RATE) * min(1.0, (step + 1) / rise)
        step -= self.head_steps
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        length = self.total - self.head_steps - self.warmup
        return self.peak * _factor(self.kind, step - self.warmup, max(1, length))

    def trains_new_alone(self, step: int) -> bool:
        """Whether the step after `step` steps that changed the weights is of the head's warm-up."""
        return step < self.head_steps


def _factor(kind: str, step: int, length: int) -> float:
    """Share of the peak at `step` of the `length` steps after warm-up.

    "wsd" is warm-up, stable, decay with the 1 - sqrt form of Hägele et al., 2024, "Scaling Laws
    and Compute-Optimal Training Beyond Fixed Training Durations".
    """
    done = min(1.0, step / length)
    if kind == "linear":
        return 1 - done
    if kind == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if kind == "wsd" and done > 1 - WSD_DECAY:
        return 1 - math.sqrt((done - (1 - WSD_DECAY)) / WSD_DECAY)
    return 1.0
