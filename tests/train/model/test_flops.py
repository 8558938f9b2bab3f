"""The FLOP formula against FLOPs that torch counts, and the measured peak."""

import time

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AlbertConfig,
    AutoModelForMaskedLM,
    BertConfig,
    ElectraConfig,
    ModernBertConfig,
)

from train.model import flops
from train.model.flops import FlopCounter, PeakRate, peak_rate

SMALL = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}


@pytest.mark.parametrize(
    "config",
    [
        BertConfig(**SMALL),
        AlbertConfig(**SMALL, embedding_size=16),
        ElectraConfig(**SMALL, embedding_size=16),
    ],
    ids=lambda config: config.model_type,
)
def test_formula_equals_what_torch_counts(config):
    """Forward and backward of one row, every token masked; eager attention is plain products."""
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(config, attn_implementation="eager")
    ids = torch.arange(10)[None]
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids).logits.sum().backward()
    counted = counter.get_total_flops()
    assert FlopCounter(model).count(np.array([10]), 10) == counted


def test_head_counts_masked_tokens_only():
    counter = FlopCounter(AutoModelForMaskedLM.from_config(BertConfig(**SMALL)))
    more = counter.count(np.array([10]), 3) - counter.count(np.array([10]), 2)
    assert more == 6 * (32 * 32 + 32 * 50)


def test_rows_attend_to_themselves_only():
    counter = FlopCounter(AutoModelForMaskedLM.from_config(BertConfig(**SMALL)))
    joined = counter.count(np.array([10]), 0)
    apart = counter.count(np.array([4, 6]), 0)
    assert joined - apart == 12 * 32 * 3 * (10**2 - 4**2 - 6**2)


@pytest.mark.parametrize("length", [1, 4, 5, 6, 30])
def test_sliding_window_pairs(length):
    distance = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    assert flops._pairs(np.array([length]), 5)[0] == (distance < 5).sum()


def test_modernbert_windows():
    config = ModernBertConfig(
        **SMALL, local_attention=8, global_attn_every_n_layers=3, pad_token_id=0
    )
    model = AutoModelForMaskedLM.from_config(config)
    layers = model.base_model.layers
    assert FlopCounter(model).windows == tuple(layer.attn.sliding_window for layer in layers)
    assert FlopCounter(model).windows == (None, 5, 5)


def test_peak_is_measured_once(monkeypatch):
    calls = []
    monkeypatch.setattr(flops, "_measured_peak", lambda *args: calls.append(args) or 5.0)
    peak_rate.cache_clear()
    assert [peak_rate(torch.device("cpu"), "fp32").flops for _ in range(3)] == [5.0] * 3
    assert calls == [(torch.device("cpu"), torch.float32)]
    peak_rate.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_measured_peak_is_plausible_and_soon_known(dtype):
    """Where a CPU has no units for a half precision, a product of 2048 would take minutes."""
    start = time.perf_counter()
    assert 1e7 < flops._measured_peak(torch.device("cpu"), dtype) < 1e14
    assert time.perf_counter() - start < 20


def test_gpu_peak_is_of_the_data_sheet(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    peak_rate.cache_clear()
    assert peak_rate(torch.device("cuda", 0), "bf16") == PeakRate(989e12, measured=False)
    peak_rate.cache_clear()


def test_no_measured_peak_is_exceeded():
    measured = PeakRate(100.0, measured=True)
    assert [measured.share(rate) for rate in (50.0, 200.0, 100.0)] == [0.5, 1.0, 0.5]
    assert PeakRate(100.0, measured=False).share(110.0) == pytest.approx(1.1), "so it is told"
