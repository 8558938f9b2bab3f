"""Means, spreads, and how sure a difference is.

What is compared is a table of results for each contender: pretraining models x fine-tuning seeds x
test examples. All three are samples, so the bootstrap draws all three anew. A seed means the same
labelled texts and the same order for every contender, and the test examples are the same, so these
two are drawn once for both; pretraining models of two contenders have nothing in common.

With 3 models or 5 seeds, drawing with replacement understates their variance by 1 - 1/n. The drawn
weights are therefore stretched about their mean by sqrt(n / (n - 1)) (Rao and Wu, "Resampling
inference with complex survey data", JASA 83, 1988).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Verdict = Literal["better", "worse", "not distinguishable"]
RESAMPLES = 4000
_SEED = 20
_CHUNK = 1 << 22  # drawn weights held at once


@dataclass(frozen=True)
class Interval:
    """A difference of accuracies and its 95% interval, in shares."""

    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> Verdict:
        """What is shown; nothing, where the interval holds 0."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "not distinguishable"


def mean_and_sd(values: list[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None where there is one value."""
    array = np.array(values, np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None


def paired_difference(
    ours: np.ndarray, theirs: np.ndarray, sizes: np.ndarray, resamples: int = RESAMPLES
) -> Interval:
    """The difference of two contenders' accuracies, ours less theirs.

    Args:
        ours: `[models, seeds, examples]`, how many predictions of each example are correct: 0 or 1,
            or for a tagged sentence the number of words.
        theirs: the same, with as many seeds and examples.
        sizes: `[examples]`, predictions in each example.
        resamples: draws of the bootstrap.

    Raises:
        ValueError: seeds or examples differ.
    """
    if ours.shape[1:] != theirs.shape[1:] or ours.shape[2:] != sizes.shape:
        raise ValueError(f"shapes {ours.shape}, {theirs.shape} and {sizes.shape} do not agree")
    rng = np.random.default_rng(_SEED)
    seeds, examples = ours.shape[1:]
    our_models = stretched_weights(rng, ours.shape[0], resamples)
    their_models = stretched_weights(rng, theirs.shape[0], resamples)
    seed_weights = stretched_weights(rng, seeds, resamples)
    differences = np.empty(resamples)
    step = max(1, _CHUNK // examples)
    for first in range(0, resamples, step):
        part = slice(first, min(first + step, resamples))
        drawn = rng.multinomial(examples, np.full(examples, 1 / examples), part.stop - first)
        drawn = drawn.astype(np.float64)
        scores = [
            _mean_score(table, sizes, drawn, models[part], seed_weights[part])
            for table, models in ((ours, our_models), (theirs, their_models))
        ]
        differences[part] = scores[0] - scores[1]
    low, high = np.quantile(differences, [0.025, 0.975])
    observed = (ours.mean((0, 1)).sum() - theirs.mean((0, 1)).sum()) / sizes.sum()
    return Interval(float(observed), float(low), float(high))


def stretched_weights(rng: np.random.Generator, count: int, resamples: int) -> np.ndarray:
    """Weights of things drawn with replacement: fp64 `[resamples, count]`, rows sum to 1."""
    weights = rng.multinomial(count, np.full(count, 1 / count), resamples) / count
    stretch = math.sqrt(count / (count - 1)) if count > 1 else 1.0
    return 1 / count + (weights - 1 / count) * stretch


def _mean_score(
    table: np.ndarray, sizes: np.ndarray, drawn: np.ndarray, models: np.ndarray, seeds: np.ndarray
) -> np.ndarray:
    """Weighted mean accuracy of every resample, fp64 `[resamples]`."""
    flat = table.reshape(-1, table.shape[2]).astype(np.float64)
    accuracy = (drawn @ flat.T) / (drawn @ sizes.astype(np.float64))[:, None]
    accuracy = accuracy.reshape(-1, *table.shape[:2])
    return np.asarray(np.einsum("rms,rm,rs->r", accuracy, models, seeds))
