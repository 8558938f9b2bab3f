"""The learning rate as a function of the step."""

import math
from dataclasses import dataclass

WSD_DECAY = 0.2  # share of the steps in which wsd decays (Hägele et al., 2024, use 10 to 20%)


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

    def __call__(self, step: int) -> float:
        """The rate of the step after `step` steps that changed the weights."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        return self.peak * _factor(self.kind, step - self.warmup, max(1, self.total - self.warmup))


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
