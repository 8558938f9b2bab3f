"""The whole weights of a model that ranks hold in parts."""

from typing import Any

import torch
from transformers import PreTrainedModel


def gather_weights(engine: Any, model: PreTrainedModel, keep: bool) -> dict[str, torch.Tensor]:
    """The weights in fp32 on the CPU, gathered from every rank; empty without `keep`.

    Every rank calls this. The names are the model's; tied weights have one.
    """
    from deepspeed.utils import safe_get_full_fp32_param

    weights = {}
    for name, parameter in model.named_parameters():
        whole = safe_get_full_fp32_param(parameter) if engine.zero_optimization() else parameter
        if keep:
            weights[name] = whole.detach().float().cpu().clone()
    if not keep:
        return weights
    kept = model.state_dict(keep_vars=True)
    weights |= {name: b.detach().cpu() for name, b in model.named_buffers() if name in kept}
    return weights


def parameter_count(model: PreTrainedModel) -> int:
    """Number of weights, tied ones once."""
    # ds_numel: of the whole parameter where ZeRO-3 has partitioned it
    return sum(int(getattr(p, "ds_numel", p.numel())) for p in model.parameters())
