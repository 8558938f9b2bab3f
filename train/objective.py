"""One micro-batch through the model: sums of losses, and which guesses were right."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from train.collate import MicroBatch
from train.model import IGNORE, masked_lm_loss, mlm_labels, mlm_logits, model_inputs, pair_labels


@dataclass(frozen=True)
class Guesses:
    """What a model made of a micro-batch.

    Attributes:
        loss_sum: cross-entropy summed over masked tokens, fp32 scalar with a gradient.
        right: bool `[M]`, which masked tokens' likeliest token is right.
        pair_loss_sum: the same of the pair head, over rows that have a label; None without one.
    """

    loss_sum: Tensor
    right: Tensor
    pair_loss_sum: Tensor | None


def guess(
    forward: Callable[..., Any],
    model: PreTrainedModel,
    batch: MicroBatch,
    device: torch.device,
    static: bool = False,
) -> Guesses:
    """Run `forward` (the model, or the engine around it) on a micro-batch."""
    output = forward(**model_inputs(batch, model, device, static=static))
    logits, labels = mlm_logits(output), mlm_labels(batch, device, static=static)
    loss_sum = masked_lm_loss(logits, labels)
    right = (logits.detach().argmax(dim=-1) == labels)[: len(batch.labels)]
    if batch.pair_labels is None:
        return Guesses(loss_sum, right, None)
    pair_logits = output["seq_relationship_logits"].float()
    targets = pair_labels(batch, device, static=static)
    pairs = functional.cross_entropy(pair_logits, targets, ignore_index=IGNORE, reduction="sum")
    return Guesses(loss_sum, right, pairs)


def pair_count(batch: MicroBatch) -> int:
    """How many rows of a micro-batch have a label for the pair head."""
    return 0 if batch.pair_labels is None else int((batch.pair_labels != IGNORE).sum())
