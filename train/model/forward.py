"""One micro-batch through the model: sums of losses, and which predictions are correct."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from train.data.collate import IGNORE_INDEX, MicroBatch
from train.model.inputs import mlm_labels, model_inputs, pair_labels
from train.model.loss import masked_lm_loss, mlm_logits


@dataclass(frozen=True)
class LossSums:
    """What a model made of a micro-batch."""

    loss_sum: Tensor
    """Cross-entropy summed over masked tokens, fp32 scalar with a gradient."""
    correct: Tensor
    """Bool `[M]`, whether the likeliest token at each masked position is the original one; on equal
    terms the first."""
    pair_loss_sum: Tensor | None
    """The same sum of the pair head, over rows that have a label; None without one."""


def forward_micro_batch(
    forward: Callable[..., Any],
    model: PreTrainedModel,
    batch: MicroBatch,
    device: torch.device,
    static: bool = False,
) -> LossSums:
    """Run `forward` (the model, or the engine around it) on a micro-batch."""
    output = forward(**model_inputs(batch, model, device, static=static))
    logits, labels = mlm_logits(output), mlm_labels(batch, device, static=static)
    loss_sum, correct = masked_lm_loss(logits, labels)
    correct = correct[: len(batch.labels)]
    if batch.pair_labels is None:
        return LossSums(loss_sum, correct, None)
    pair_logits = output["seq_relationship_logits"].float()
    targets = pair_labels(batch, device, static=static)
    pair_loss_sum = functional.cross_entropy(
        pair_logits, targets, ignore_index=IGNORE_INDEX, reduction="sum"
    )
    return LossSums(loss_sum, correct, pair_loss_sum)


def pair_count(batch: MicroBatch) -> int:
    """How many rows of a micro-batch have a label for the pair head."""
    return 0 if batch.pair_labels is None else int((batch.pair_labels != IGNORE_INDEX).sum())
