"""FastDropout: the share it drops, its scale and gradient, and whose place it takes."""

import math

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM

from train.model.dropout import FastDropout, use_fast_dropout


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_drops_a_share_of_p(p: float) -> None:
    """Six standard deviations: a false alarm in 5e8 runs, and the seed is fixed."""
    torch.manual_seed(7)
    count = 1_000_003  # no multiple of the four elements that one draw decides
    dropped = (FastDropout(p)(torch.ones(count)) == 0).sum().item()
    assert abs(dropped - count * p) < 6 * math.sqrt(count * p * (1 - p)) + count / 2**17


def test_neighbours_are_independent() -> None:
    """The four elements of one draw, and of two: every lag's product has the share q * q."""
    torch.manual_seed(8)
    kept = (FastDropout(0.3)(torch.ones(400_000)) > 0).double()
    for lag in range(1, 9):
        share = (kept[:-lag] * kept[lag:]).mean().item()
        assert abs(share - 0.49) < 6 * math.sqrt(0.49 * 0.51 / 400_000) * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kept_elements_and_their_gradients_are_scaled(dtype: torch.dtype) -> None:
    torch.manual_seed(9)
    states = torch.rand(3, 5, 7, dtype=dtype) + 1
    states.requires_grad_()
    out = FastDropout(0.25)(states)
    out.backward(torch.ones_like(out))
    kept = out != 0
    scale = torch.tensor(1 / 0.75, dtype=dtype)
    assert 0 < kept.sum() < kept.numel()
    torch.testing.assert_close(out[kept], (states * scale)[kept])
    assert states.grad is not None
    torch.testing.assert_close(states.grad, kept.to(dtype) * scale)


def test_the_seed_repeats_masks_and_evaluation_drops_nothing() -> None:
    layer, states = FastDropout(0.5), torch.ones(64)
    torch.manual_seed(1)
    first = layer(states)
    second = layer(states)
    torch.manual_seed(1)
    assert torch.equal(layer(states), first)
    assert not torch.equal(second, first)
    assert layer.eval()(states) is states
    assert FastDropout(0.0)(states) is states
    assert torch.isfinite(FastDropout(0.999_999)(states)).all()


def test_replaces_every_dropout_of_a_model_and_no_weight() -> None:
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=16, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = BertForMaskedLM(config)
    names = list(model.state_dict())
    use_fast_dropout(model)
    kinds = [type(module) for module in model.modules()]
    assert nn.Dropout not in kinds
    assert kinds.count(FastDropout) >= 1 + 2 * 2  # embeddings; two in every layer
    assert list(model.state_dict()) == names
    model.train()
    assert model(torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 50)
