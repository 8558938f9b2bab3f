"""One rank of two that load a model for ZeRO-3; a line of JSON says what it held.

RANK=0 LOCAL_RANK=0 WORLD_SIZE=2 MASTER_ADDR=... MASTER_PORT=... python -m
tests.train.partition_ranks
"""

import json
import re
from pathlib import Path

import torch
from transformers import BertConfig, BertForMaskedLM, PretrainedConfig, PreTrainedModel

from train.engine.partition import load_partitioned
from train.engine.process_group import process_group
from train.engine.weights import parameter_count


def make(config: PretrainedConfig) -> PreTrainedModel:
    torch.manual_seed(3)
    return BertForMaskedLM(config).eval()


def peak() -> int:
    """The most bytes that this program has held; getrusage counts the parent's before it too."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024


def main() -> None:
    import deepspeed

    config = BertConfig(
        vocab_size=8000,
        hidden_size=512,
        num_hidden_layers=16,
        num_attention_heads=8,
        intermediate_size=2048,
    )
    ids = torch.arange(12)[None]
    with process_group() as ranks, torch.no_grad():
        before = peak()
        settings = {"train_batch_size": 2, "zero_optimization": {"stage": 3}}
        model, why_padded = load_partitioned(
            lambda: (make(config), "for a test"), make, settings, "fp32", ranks
        )
        grown = peak() - before
        held = sum(parameter.ds_tensor.numel() for parameter in model.parameters())
        with deepspeed.zero.GatheredParameters(list(model.parameters())):
            same = torch.equal(model(ids).logits, make(config)(ids).logits)
            tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
        whole = parameter_count(model)
    print(json.dumps({"rank": ranks.rank, "why_padded": why_padded, "same": same, "tied": tied,
                      "held": held / whole, "grown": grown / (4 * whole)}))  # fmt: skip


if __name__ == "__main__":
    main()
