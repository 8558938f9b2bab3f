"""ZeRO-3 from the first moment: weights are cut among the ranks before any trains with them.

Rank 0 loads the model as without ZeRO-3, so initial weights, checks and errors are the same in
every stage. The other ranks make the model's modules without weights. DeepSpeed then takes the
parameters one after the other: it sends each from rank 0 and leaves every rank its part. So no rank
but the first ever holds the whole model, and no GPU does.
Buffers are no parameters: DeepSpeed leaves them where they are, so they are moved here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from train.engine.process_group import Ranks
from train.model.flops import DTYPES


def load_partitioned(
    load: Callable[[], tuple[PreTrainedModel, str | None]],
    make: Callable[[PretrainedConfig], PreTrainedModel],
    config: dict[str, Any],
    precision: str,
    ranks: Ranks,
) -> tuple[PreTrainedModel, str | None]:
    """Load a model on rank 0 and partition it; every rank calls this.

    Args:
        load: returns the model, in fp32 on the CPU, and why it takes padded batches, if it does.
        make: returns a model of a configuration, with any weights.
        config: DeepSpeed's, of stage 3.
        precision: "fp16", "bf16" or "fp32", of the weights that the ranks keep.
        ranks: the run's.

    Returns:
        The partitioned model, its buffers on the ranks' devices, and what `load` said of padding.
    """
    import deepspeed

    model, why_padded = load() if ranks.first else (None, None)
    model_config, why_padded, buffers = ranks.share(
        None if model is None else (model.config, why_padded, dict(model.named_buffers()))
    )
    if model is None:
        with torch.device("meta"):
            model = make(model_config)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(DTYPES[precision])
    if not ranks.first:
        # Memory that is not written to takes no room; DeepSpeed writes and frees one at a time.
        model.to_empty(device="cpu")
        model.tie_weights()
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    deepspeed.zero.Init(module=model, config_dict_or_path=config, dtype=DTYPES[precision])
    move_buffers(model, ranks.device)
    return model, why_padded


def move_buffers(model: nn.Module, device: torch.device) -> None:
    """Move every buffer to `device`, those that no checkpoint holds too; parameters stay."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(device))
