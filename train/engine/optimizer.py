"""Which parameters decay, what DeepSpeed's optimizers leave to its caller, and less memory."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from preprocess.errors import WholewordError
from train.engine.precision import let_scale_stay_at_minimum
from train.model.new_weights import new_weights

_RATIO = "lr_ratio"  # of a parameter group: its share of the learning rate
_CLIP = "clip_grad"  # ZeRO's optimizers' name of the norm that gradients are scaled down to
_NEW = "new"  # whether a group's parameters are new to a pretrained model
_DECAY = "decay"  # of such a group, while all weights train
_FIND_OVERFLOW = "has_overflow_partitioned_grads_serial"
_STATE_OF_GROUP = ("params", "step")  # DeepSpeed's FusedAdam counts steps in the group


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split the trainable parameters: those that decay or not, and are new (`new_weights`) or not.

    Biases and the weights of normalizations (LayerNorm, RMSNorm) do not decay, as in BERT. Tied
    weights are counted once. An embedding with new rows counts as new.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for kind, parameter in _parameters(model):
        groups.setdefault(kind, []).append(parameter)
    return [
        {"params": groups[kind], "weight_decay": 0.0 if kind[1] else weight_decay}
        | ({_NEW: True, _DECAY: 0.0 if kind[1] else weight_decay} if kind[0] else {})
        for kind in sorted(groups)
    ]


def _parameters(model: nn.Module) -> Iterator[tuple[tuple[bool, bool], nn.Parameter]]:
    """Every trainable parameter once, and whether it is new and whether it is spared decay."""
    new = new_weights(model)
    names = {id(p) for name, p in model.named_parameters() if name in new.parameters}
    if new.first_row is not None:
        names.add(id(model.get_input_embeddings().weight))  # type: ignore[operator]
    seen: set[int] = set()
    for module in model.modules():
        is_norm = "norm" in type(module).__name__.lower()
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield (id(parameter) in names, is_norm or name.endswith("bias")), parameter


def keep_rate_ratios(engine: Any, learning_rate: float) -> None:
    """Note each parameter group's share of the learning rate (Muon's groups have their own)."""
    for group in engine.optimizer.param_groups:
        group[_RATIO] = group["lr"] / learning_rate if learning_rate else 1.0


def _read_hyperparameters(engine: Any) -> list[dict[str, Any]]:
    """Each parameter group's values: rates, betas, decay, and how much the gradient is clipped."""
    clip = {_CLIP: engine.optimizer.clip_grad} if hasattr(engine.optimizer, _CLIP) else {}
    return [
        {key: value for key, value in group.items() if key not in _STATE_OF_GROUP} | clip
        for group in engine.optimizer.param_groups
    ]


@contextlib.contextmanager
def keeping_hyperparameters(engine: Any) -> Iterator[None]:
    """Let the engine's hyperparameters stand while a checkpoint is loaded.

    A checkpoint holds those that it was saved with, and DeepSpeed restores them on one layout and
    not on another. What counts is what this run was asked for.
    """
    values = _read_hyperparameters(engine)
    yield
    for group, fresh in zip(engine.optimizer.param_groups, values, strict=True):
        group.update({key: value for key, value in fresh.items() if key != _CLIP})
    if _CLIP in values[0]:
        engine.optimizer.clip_grad = values[0][_CLIP]
    let_scale_stay_at_minimum(engine)


def applied_steps(engine: Any) -> int:
    """Steps that changed the weights, those of the checkpoint that was loaded included."""
    return int(engine.global_steps - engine.skipped_steps)


def set_learning_rate(engine: Any, rate: float, new_alone: bool = False) -> None:
    """Set the rate of the engine's next optimizer step; 0 of old weights where `new_alone`."""
    for group in engine.optimizer.param_groups:
        is_new = group.get(_NEW, False)
        group["lr"] = rate * group.get(_RATIO, 1.0) if is_new or not new_alone else 0.0
        if is_new:  # an embedding has old rows too, which decay would move
            group["weight_decay"] = 0.0 if new_alone else group[_DECAY]


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


def find_overflow_at_once(engine: Any) -> None:
    """Let ZeRO 1 and 2 look for infinities and NaNs in all gradients at once.

    DeepSpeed takes them one by one, with a dozen kernels each: 2,400 launches a step of BERT-base,
    which kept the processor busy for longer than the GPU. Torch's gradient scaler has the kernel.
    """
    optimizer = engine.optimizer
    if not hasattr(optimizer, _FIND_OVERFLOW):
        return

    def find_overflow() -> torch.Tensor:
        groups = (optimizer.averaged_gradients[k] for k in range(len(optimizer.bit16_groups)))
        gradients = [g for group in groups for g in group if g is not None]
        found = torch.zeros(1, device=engine.device)
        if gradients:
            one = torch.ones(1, device=engine.device)
            torch._amp_foreach_non_finite_check_and_unscale_(gradients, found, one)
        return found.bool()

    setattr(optimizer, _FIND_OVERFLOW, find_overflow)


def gradient_norm(engine: Any) -> float | None:
    """The norm of the last step's gradient before clipping, where DeepSpeed computed one."""
    norm = engine.get_global_grad_norm()
    return None if norm is None else float(norm)


def engine_values(engine: Any) -> dict[str, float]:
    """What DeepSpeed knows about the last step."""
    rates = [g["lr"] / (g.get(_RATIO) or 1.0) for g in engine.optimizer.param_groups]
    values = {"learning_rate": float(max(rates))}
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
