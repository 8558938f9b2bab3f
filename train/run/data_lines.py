"""What a run says of its data before it begins: the mixture, and what validation rests on."""

import math
from collections.abc import Iterator, Mapping

from train.data.loader import expected_passes
from train.data.mixture import Mixture
from train.data.shard_dataset import ShardDataset
from train.data.windows import LoaderOptions
from train.options import VALIDATION, Options

_SPREAD = 3.0
"""Nats: about the standard deviation of a masked token's loss. In a modernbert-tiny trained on the
sample it is 2.8 on the validation rows (the mean 5.0), and 3.3 if a row's tokens count together."""
_FEW_MASKED = 1000
"""Below, the standard error of a mean loss is 0.1 nats or more, a tenth of the perplexity. Models
are compared on the same tokens, which helps, but what lies so close may turn round on others."""


def mixture_lines(
    options: Options,
    mixture: Mixture,
    validation: Mapping[str, ShardDataset],
    loader: LoaderOptions,
    steps: range,
) -> Iterator[str]:
    """Of several datasets: how much is read of each, and whose validation rows are scored.

    Args:
        options: of the command line.
        mixture: the training rows.
        validation: the rows that are scored, by name.
        loader: what micro-batches are made of.
        steps: of the run, on this data.
    """
    if not mixture.others:
        return
    passes = expected_passes(mixture.datasets, loader, mixture.weights, steps)
    parts = [
        f"{name} {weight / sum(mixture.weights):.1%} of the tokens, read {count:,.2f} times"
        for name, weight, count in zip(options.data.data, mixture.weights, passes, strict=True)
    ]
    yield f"mixture: {'; '.join(parts)}"
    if options.run.eval_steps:
        yield from _own_validation(options, mixture, validation)


def _own_validation(
    options: Options, mixture: Mixture, validation: Mapping[str, ShardDataset]
) -> Iterator[str]:
    """Whose own validation rows are scored, and whose are not."""
    first, *others = options.data.data
    scored = set(options.data.validation_folders.values())
    unused = [
        name
        for name, dataset in zip(others, mixture.others, strict=True)
        if name not in scored and _rows_put_aside(dataset)
    ]
    parts = [f"the rows of {first} alone, the first --data"] if VALIDATION in validation else []
    if unused:
        parts.append(
            f"those of {', '.join(unused)} are not scored (--validation-data NAME={unused[0]})"
        )
    if parts:
        yield f"validation: {'; '.join(parts)}"


def _rows_put_aside(dataset: ShardDataset) -> int:
    entry = dataset.manifest.parts.get("validation")
    return entry.rows if entry else 0


def few_masked(options: Options, validation: Mapping[str, ShardDataset]) -> Iterator[str]:
    """A warning where the validation that decides has too few masked tokens to tell models apart.

    Args:
        options: of the command line.
        validation: the rows that are scored, by name, those that decide first.
    """
    name, rows = next(iter(validation.items()), ("", None))
    if rows is None:
        return
    kept = min(options.run.max_eval_rows or len(rows), len(rows))
    tokens = rows.manifest.parts["validation"].tokens * kept / len(rows)
    masked = max(1, round(tokens * options.data.probabilities[-1]))
    if masked >= _FEW_MASKED:
        return
    remedy = "build shards with a larger --validation-fraction, or more text in --validation-input"
    if kept < len(rows):
        remedy = "give a larger --max-eval-rows"
    yield (
        f"{name} loss rests on about {masked:,} masked tokens, too few to tell models apart (its "
        f"standard error is about {_SPREAD / math.sqrt(masked):.1g}); {remedy}"
    )
