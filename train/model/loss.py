"""The loss: cross-entropy summed over the masked tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from train.data.collate import IGNORE_INDEX


def mlm_logits(output: Any) -> Tensor:
    """Return `[M, V]` of a model's output, whichever class the model is."""
    logits = output["prediction_logits"] if "prediction_logits" in output else output["logits"]
    return logits.reshape(-1, logits.shape[-1])


def masked_lm_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of predictions, and which of them are correct.

    Args:
        logits: `[M, V]`, any floating type; M may be 0.
        labels: int64 `[M]`.

    Returns:
        The sum, in fp32, of the cross-entropy over all labels that are not `IGNORE_INDEX`; and
        bool `[M]`, whether the first of the highest logits is the label's.
    """
    if logits.device.type == "cpu":
        return _SummedCrossEntropy.apply(logits, labels)
    loss = cross_entropy(logits.float(), labels, ignore_index=IGNORE_INDEX, reduction="sum")
    return loss, logits.detach().argmax(dim=-1) == labels


class _SummedCrossEntropy(torch.autograd.Function):
    """Cross-entropy a few rows at a time, so that what is computed of them stays in the cache.

    With a vocabulary of 21,128 it takes a quarter of the time, predictions included: torch's
    argmax alone takes longer (it is not vectorized). The gradient, softmax - one-hot, is made on
    the way and kept in the logits' type; fp16 would need the loss's scale for that.
    """

    ROWS = 16

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The fp32 scalar and bool `[M]`."""
        gradient = torch.empty_like(logits)
        losses, correct = (torch.empty_like(labels, dtype=t) for t in (torch.float32, torch.bool))
        arrays = (gradient, logits, labels[:, None], losses[:, None], correct[:, None])
        parts = (states.split(_SummedCrossEntropy.ROWS) for states in arrays)
        for out, some, wanted, loss, is_correct in zip(*parts, strict=True):
            target, counts = wanted.clamp_min(0), wanted != IGNORE_INDEX
            logit, highest = some.gather(1, target), some.amax(1, keepdim=True)
            shares = torch.softmax(some, dim=-1, dtype=torch.float32)
            highest_share = shares.amax(1, keepdim=True)
            # The highest's share is never small, so its logarithm loses nothing.
            torch.mul(highest.float() - logit.float() - highest_share.log(), counts, out=loss)
            shares.scatter_add_(1, target, shares.new_full(target.shape, -1.0))
            torch.logical_and(logit == highest, counts, out=is_correct)
            tied = is_correct & (shares.amax(1, keepdim=True) > highest_share * (1 - _NEARLY))
            for row in tied[:, 0].nonzero()[:, 0]:
                is_correct[row] = some[row].argmax() == target[row]
            if ctx.needs_input_grad[0]:
                out.copy_(shares.mul_(counts))
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(correct)
        return losses.sum(), correct

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The logits' gradient."""
        return ctx.saved_tensors[0] * gradients[0].to(torch.float32), None


_NEARLY = 1e-5  # of a share: rounding, within which another may be as high
