"""How long, how fast and in what batches a model is adapted: rules of size alone, no measuring.

Published protocols are the ends of the rule: task-adaptive pretraining reads a small text a hundred
times, domain-adaptive pretraining reads a large one once, both at 1e-4 and above (Gururangan et
al., 2020; docs/recipes.md). Nothing here looks at a clock, so that a second run does the same.
"""

import math
from dataclasses import dataclass

CONTINUED_TOKENS = 20_000_000
"""Tokens that a model which has weights reads in all, where 1 to `MOST_PASSES` passes allow it."""
NEW_TOKENS = 100_000_000
"""The same for a model from nothing."""
MOST_PASSES = 100.0
QUICK_FLOPS = 1.5e13
"""Of each pretraining with --quick: about five minutes of two cores."""
GENERAL_SHARE = 0.2
"""Of the tokens, where general text is mixed in."""
_STEPS = {True: 4000, False: 1000}
"""At least, by whether the model is new; the batch is made smaller for it."""
_ROWS = (16, 256)
_MICRO_ROWS = 16
_MICRO_TOKENS = 2048
"""At least: each micro-batch costs a pass over the gradient of the whole vocabulary."""
_NARROW = 256


@dataclass(frozen=True)
class Schedule:
    """What a pretraining does."""

    passes: float
    """Over the domain's text."""
    tokens: int
    """Read in all, general text and special tokens included."""
    steps: int
    rows: int
    """Of full length, in the global batch."""
    micro_rows: int
    learning_rate: float


def make_schedule(
    domain_tokens: int,
    max_length: int,
    hidden_size: int,
    flops_per_token: float,
    *,
    is_new: bool,
    mixes: bool,
    quick: bool,
    passes: float | None = None,
    learning_rate: float | None = None,
) -> Schedule:
    """Decide a pretraining.

    Args:
        domain_tokens: of the training part, special tokens included.
        max_length: tokens of a row of full length.
        hidden_size: of the model.
        flops_per_token: forward and backward.
        is_new: whether the weights are drawn, not read.
        mixes: whether general text is mixed in.
        quick: keep to `QUICK_FLOPS`.
        passes: asked for; None: by the rule.
        learning_rate: asked for; None: by the rule.
    """
    if passes is None:
        wanted = NEW_TOKENS if is_new else CONTINUED_TOKENS
        passes = min(max(wanted / domain_tokens, 1.0), MOST_PASSES)
        if quick:
            passes = min(passes, QUICK_FLOPS / flops_per_token / domain_tokens)
    tokens = passes * domain_tokens / (1 - GENERAL_SHARE * mixes)
    rows = _ROWS[0]
    while rows < _ROWS[1] and tokens >= 2 * rows * max_length * _STEPS[is_new]:
        rows *= 2
    if learning_rate is None:
        learning_rate = (2e-3 if hidden_size < _NARROW else 1e-3) if is_new else 1e-4
    steps = max(1, math.ceil(tokens / (rows * max_length)))
    micro_rows = min(rows, max(_MICRO_ROWS, _MICRO_TOKENS // max_length))
    micro_rows = 1 << (micro_rows.bit_length() - 1)  # or it would not divide the rows
    return Schedule(passes, round(tokens), steps, rows, micro_rows, learning_rate)


def vocabulary_size(characters: int) -> int:
    """Entries of a vocabulary trained on a text: a thousandth of it, from 6,000 to 30,000."""
    return min(max(round(characters, -6) // 1000, 6000), 30_000)
