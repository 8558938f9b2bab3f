"""ZeRO-3 from the first moment: weights are cut among the ranks before any trains with them.

Rank 0 loads the model as without ZeRO-3, so initial weights, checks and errors are the same in
every stage. The other ranks make the model's modules without weights. DeepSpeed then takes the
parameters one after the other: it sends each from rank 0 and leaves every rank its part. So no rank
but the first ever holds the whole model, and no GPU does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from train.engine.process_group import Ranks

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def load_partitioned(
    load: Callable[[], tuple[PreTrainedModel, bool]],
    make: Callable[[PretrainedConfig], PreTrainedModel],
    config: dict[str, Any],
    precision: str,
    ranks: Ranks,
) -> tuple[PreTrainedModel, bool]:
    """Load a model on rank 0 and partition it; every rank calls this.

    Args:
        load: returns the model, in fp32 on the CPU, and whether it takes packs.
        make: returns a model of a configuration, with any weights.
        config: DeepSpeed's, of stage 3.
        precision: "fp16", "bf16" or "fp32", of the weights that the ranks keep.
        ranks: the run's.

    Returns:
        The partitioned model, and what `load` said of packs.
    """
    import deepspeed

    model, packed = load() if ranks.first else (None, False)
    model_config, packed, buffers = ranks.share(
        None if model is None else (model.config, packed, dict(model.named_buffers()))
    )
    if model is None:
        with torch.device("meta"):
            model = make(model_config)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(_DTYPES[precision])
    if not ranks.first:
        # Memory that is not written to takes no room; DeepSpeed writes and frees one at a time.
        model.to_empty(device="cpu")
        model.tie_weights()
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    deepspeed.zero.Init(module=model, config_dict_or_path=config, dtype=_DTYPES[precision])
    return model, packed
