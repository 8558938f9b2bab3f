"""Which weights of a pretrained model are new: heads, and rows of the vocabulary.

A new head's first gradients are noise to the encoder below it. So what is new is trained alone for
a while (`train.engine.schedules.Schedule.head_steps`), as Kumar et al., 2022, "Fine-Tuning can
Distort Pretrained Features and Underperform Out-of-Distribution", do before they fine-tune.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

_ATTRIBUTE = "_wholeword_new_weights"


@dataclass(frozen=True)
class NewWeights:
    """What of a model was not in its checkpoint."""

    parameters: frozenset[str] = frozenset()
    """Names of whole parameters."""
    first_row: int | None = None
    """Where the new rows of the input embeddings begin; None where there are none."""

    def __bool__(self) -> bool:
        return bool(self.parameters) or self.first_row is not None


def mark_new_weights(model: PreTrainedModel, new: NewWeights) -> None:
    """Note at a model what of it is new."""
    setattr(model, _ATTRIBUTE, new)


def new_weights(model: object) -> NewWeights:
    """What is new of a model; nothing where nobody has said."""
    return getattr(model, _ATTRIBUTE, NewWeights())


def keep_old_rows(model: PreTrainedModel, active: Callable[[], bool]) -> None:
    """Zero the gradient of the embeddings' old rows while `active()`."""
    first = new_weights(model).first_row
    if first is None:
        return

    def hook(gradient: Tensor) -> Tensor:
        if not active():
            return gradient
        gradient = gradient.clone()
        gradient[:first] = 0
        return gradient

    model.get_input_embeddings().weight.register_hook(hook)  # type: ignore[operator]
