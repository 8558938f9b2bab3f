"""How much arithmetic training needs, and how much the hardware could do: MFU is the quotient.

MFU (model FLOPs utilization; Chowdhery et al., 2022, appendix B) counts what the model's
mathematics needs on the real tokens, whatever the implementation spends:

    6 * body * tokens + 6 * head * masked + 12 * sum over layers and rows of width * pairs

where *body* is the number of weights of the encoder's matrix products (6 = 2 forward + 4 backward
per weight and token; Kaplan et al., 2020), *head* those of the language-model head, vocabulary
projection included, which runs on masked tokens only, and *pairs* the pairs of tokens that attend
to each other: n^2 in a row of n tokens, fewer under a sliding window. Their dot products and their
weighted sums take 2 * 2 * width forward and twice that backward. Embedding look-ups, norms,
activations, the optimizer and recomputed activations (--gradient-checkpointing) count nothing.
"""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

if TYPE_CHECKING:
    from train.data.collate import MicroBatch

# Dense FLOP/s of the matrix units, from the vendors' data sheets, by a part of the device's name.
_PEAKS = {
    "B200": {"fp16": 2250e12, "bf16": 2250e12, "fp32": 75e12},
    "H200": {"fp16": 989e12, "bf16": 989e12, "fp32": 67e12},
    "H100 PCIe": {"fp16": 756e12, "bf16": 756e12, "fp32": 51e12},
    "H100": {"fp16": 989e12, "bf16": 989e12, "fp32": 67e12},
    "A100": {"fp16": 312e12, "bf16": 312e12, "fp32": 19.5e12},
    "L40S": {"fp16": 362e12, "bf16": 362e12, "fp32": 91.6e12},
    "V100": {"fp16": 125e12, "bf16": 15.7e12, "fp32": 15.7e12},
    "T4": {"fp16": 65e12, "bf16": 8.1e12, "fp32": 8.1e12},
}
_LARGEST_PRODUCT = 2048
_PRODUCT_SECONDS = 0.3  # the longest that one may take
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
"""Torch's names of the precisions."""


@dataclass
class PeakRate:
    """The FLOP/s that a device can do at best."""

    flops: float
    """A second."""
    measured: bool
    """Whether it was measured here; else it is the vendor's word."""

    def share(self, rate: float) -> float:
        """Which part of the peak a rate of FLOP/s is.

        What was measured on a busy machine is too low: a higher rate is the peak from then on.
        """
        if self.measured:
            self.flops = max(self.flops, rate)
        return rate / self.flops


@functools.cache
def peak_rate(device: torch.device, precision: str) -> PeakRate:
    """The FLOP/s that the device can do at best.

    A GPU's come from its data sheet. What is in no table (every CPU) is measured, once a process:
    the best of a few square matrix products on as many threads as torch uses.

    Args:
        device: where training runs.
        precision: "fp16", "bf16" or "fp32".
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for part, peaks in _PEAKS.items():
            if part in name:
                return PeakRate(peaks[precision], measured=False)
    return PeakRate(_measured_peak(device, DTYPES[precision]), measured=True)


def _measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a square product of 2048, in about half a second.

    A smaller product is measured where that one would take longer: a CPU without units for a half
    precision takes minutes for it.
    """
    size = 256
    while True:
        seconds = _product_seconds(size, device, dtype)
        if size == _LARGEST_PRODUCT or 8 * seconds > _PRODUCT_SECONDS:
            return 2 * size**3 / seconds
        size *= 2


def _product_seconds(size: int, device: torch.device, dtype: torch.dtype) -> float:
    """The shortest time of a few products."""
    a, b = torch.ones(2, size, size, dtype=dtype, device=device)
    shortest = math.inf
    for _ in range(5):
        start = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for a GPU
        shortest = min(shortest, time.perf_counter() - start)
    return shortest


class FlopCounter:
    """FLOPs of forward and backward of a micro-batch, by the formula of this module."""

    body: int
    """Weights of the encoder's matrix products, times how often each is used."""
    head: int
    """Weights of the language-model head's."""
    windows: tuple[int | None, ...]
    """A sliding window for each layer, None where every token of a row is seen."""
    width: int
    """Of attention: heads * head_dim."""

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config
        base = model.base_model
        uses = _uses_of_shared_layers(config)
        in_body = {id(module) for module in base.modules()}
        self.body = sum(
            _weights(module) * (uses if "layer_groups" in name else 1)
            for name, module in base.named_modules()
            if "pooler" not in name  # one token a row, and only with a pair objective
        )
        self.head = sum(
            _weights(module)
            for name, module in model.named_modules()
            if id(module) not in in_body and "seq_relationship" not in name
        )
        self.windows = _windows(config)
        self.width = int(config.hidden_size)

    def __call__(self, batch: MicroBatch) -> float:
        """Count for a micro-batch, packed or padded."""
        if batch.cu_seqlens is not None:
            lengths = np.diff(batch.cu_seqlens)
        else:
            assert batch.attention_mask is not None
            lengths = batch.attention_mask.sum(axis=1)[: batch.rows]
        return self.count(lengths, len(batch.labels))

    def count(self, lengths: np.ndarray, masked: int) -> float:
        """Count for rows of these lengths (special tokens included) with `masked` masked tokens."""
        lengths = np.asarray(lengths, np.float64)
        pairs = sum(float(_pairs(lengths, window).sum()) for window in self.windows)
        products = self.body * float(lengths.sum()) + self.head * masked
        return 6.0 * products + 12.0 * self.width * pairs


def _weights(module: nn.Module) -> int:
    """The weights of a linear layer; its shape is known where ZeRO-3 has taken the weights."""
    return module.in_features * module.out_features if isinstance(module, nn.Linear) else 0


def _uses_of_shared_layers(config: PretrainedConfig) -> int:
    """How often a forward runs each of ALBERT's layer groups."""
    groups = getattr(config, "num_hidden_groups", None)
    return config.num_hidden_layers // groups if groups else 1


def _windows(config: PretrainedConfig) -> tuple[int | None, ...]:
    """Each layer's sliding window: keys at a distance below it are seen."""
    types = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    window = getattr(config, "sliding_window", None)
    reach = None if window is None else window + 1  # ModernBERT: half of local_attention, plus one
    return tuple(reach if kind == "sliding_attention" else None for kind in types)


def _pairs(lengths: np.ndarray, window: int | None) -> np.ndarray:
    """How many (query, key) pairs rows of these lengths have."""
    if window is None:
        return lengths**2
    reach = np.minimum(lengths, window)
    return lengths * (2 * reach - 1) - reach * (reach - 1)
