"""Which parameters decay, what DeepSpeed's optimizers leave to its caller, and less memory."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from preprocess.errors import WholewordError


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split the trainable parameters into those that decay and those that do not.

    Biases and the weights of normalizations (LayerNorm, RMSNorm) do not decay, as in BERT. Tied
    weights are counted once.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for is_spared, parameter in _parameters(model):
        (spared if is_spared else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _parameters(model: nn.Module) -> Iterator[tuple[bool, nn.Parameter]]:
    seen: set[int] = set()
    for module in model.modules():
        is_norm = "norm" in type(module).__name__.lower()
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield is_norm or name.endswith("bias"), parameter


def applied_steps(engine: Any) -> int:
    """Steps that changed the weights, those of the checkpoint that was loaded included."""
    return int(engine.global_steps - engine.skipped_steps)


def set_learning_rate(engine: Any, rate: float) -> None:
    """Set the rate of the engine's next optimizer step."""
    for group in engine.optimizer.param_groups:
        group["lr"] = rate


def keep_gradient_norm(engine: Any) -> None:
    """Let `engine.get_global_grad_norm()` answer where DeepSpeed drops the norm that it clips by.

    Without ZeRO and in fp32 DeepSpeed clips with a function that returns the norm, and forgets it.
    """
    if engine.zero_optimization() or engine.fp16_enabled() or engine.bfloat16_enabled():
        return

    def clip() -> None:
        norm = torch.nn.utils.clip_grad_norm_(
            engine.module.parameters(), engine.gradient_clipping()
        )
        engine._global_grad_norm = norm

    engine.clip_fp32_gradients = clip


def gradient_norm(engine: Any) -> float | None:
    """The norm of the last step's gradient before clipping, where DeepSpeed computed one."""
    norm = engine.get_global_grad_norm()
    return None if norm is None else float(norm)


def engine_values(engine: Any) -> dict[str, float]:
    """What DeepSpeed knows about the last step."""
    values = {"learning_rate": float(engine.optimizer.param_groups[0]["lr"])}
    if (norm := gradient_norm(engine)) is not None:
        values["gradient_norm"] = norm
    if engine.fp16_enabled():
        values["loss_scale"] = float(engine.optimizer.cur_scale)
    return values


def enable_checkpointing(model: PreTrainedModel, name: str) -> None:
    """Recompute activations in the backward pass; the gradient stays the same.

    Raises:
        WholewordError: the model cannot.
    """
    if not model.supports_gradient_checkpointing:
        raise WholewordError(
            f"{name}: {type(model).__name__} cannot recompute activations; leave "
            "--gradient-checkpointing out"
        )
    # transformers 5 has renamed it on the way, and warns of the older name
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable({"use_reentrant": False})
