"""Which parameters decay."""

from types import SimpleNamespace

import pytest
import torch
from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer
from transformers import BertConfig, BertForMaskedLM, ModernBertConfig, ModernBertForMaskedLM

from preprocess.errors import WholewordError
from train.engine.optimizer import (
    enable_checkpointing,
    engine_values,
    find_overflow_at_once,
    keep_rate_ratios,
    parameter_groups,
    set_learning_rate,
)

SMALL = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def names(model, group):
    wanted = {id(parameter) for parameter in group["params"]}
    return {name for name, parameter in model.named_parameters() if id(parameter) in wanted}


def test_biases_and_norms_do_not_decay():
    model = BertForMaskedLM(BertConfig(**SMALL, intermediate_size=16))
    decayed, spared = parameter_groups(model, 0.1)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert names(model, spared) == {
        name for name, _ in model.named_parameters() if name.endswith("bias") or "LayerNorm" in name
    }
    everything = [id(p) for group in (decayed, spared) for p in group["params"]]
    assert sorted(everything) == sorted({id(p) for p in model.parameters()})


def test_norms_without_bias_do_not_decay_either():
    model = ModernBertForMaskedLM(ModernBertConfig(**SMALL, intermediate_size=16, pad_token_id=0))
    spared = names(model, parameter_groups(model, 0.1)[1])
    assert any(name.endswith("norm.weight") for name in spared)
    assert not any("embeddings.tok" in name for name in spared)


def test_a_model_that_cannot_recompute_is_named():
    model = BertForMaskedLM(BertConfig(**SMALL))
    enable_checkpointing(model, "mine")
    assert any(getattr(layer, "gradient_checkpointing", False) for layer in model.modules())
    model.supports_gradient_checkpointing = False
    with pytest.raises(WholewordError, match=r"^mine: BertForMaskedLM cannot recompute .+; leave"):
        enable_checkpointing(model, "mine")


def engine_of(*rates):
    return SimpleNamespace(
        optimizer=SimpleNamespace(param_groups=[{"lr": rate} for rate in rates]),
        get_global_grad_norm=lambda: None,
        fp16_enabled=lambda: False,
    )


def test_each_group_keeps_its_share_of_the_rate():
    """Muon has two: muon_lr of its matrices, adam_lr of the rest."""
    engine = engine_of(0.02, 0.02, 0.001)
    keep_rate_ratios(engine, 0.02)
    set_learning_rate(engine, 0.01)
    assert [g["lr"] for g in engine.optimizer.param_groups] == pytest.approx([0.01, 0.01, 0.0005])
    assert engine_values(engine)["learning_rate"] == pytest.approx(0.01)


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan"), None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_overflows_are_found_as_deepspeed_finds_them(bad, dtype):
    """In any gradient of any group, which stay as they are; the largest numbers are none."""
    rows = [torch.full((3,), torch.finfo(dtype).max, dtype=dtype) for _ in range(3)]
    rows[0][0] = torch.finfo(dtype).tiny / 2  # a denormal number
    if bad is not None:
        rows[2][1] = bad
    before = [row.clone() for row in rows]
    zero = object.__new__(DeepSpeedZeroOptimizer)
    zero.bit16_groups, zero.averaged_gradients = [[], []], {0: rows[:2], 1: [None, rows[2]]}
    expected = zero.has_overflow_partitioned_grads_serial()
    engine = SimpleNamespace(optimizer=zero, device=torch.device("cpu"))
    find_overflow_at_once(engine)
    found = zero.has_overflow_partitioned_grads_serial()
    assert found.equal(expected) and bool(found) == (bad is not None)
    for was, now in zip(before, rows, strict=True):
        assert was.view(torch.uint8).equal(now.view(torch.uint8))
    zero.averaged_gradients = {0: [], 1: [None]}
    assert not zero.has_overflow_partitioned_grads_serial()
