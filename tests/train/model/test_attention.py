"""Packed attention against plain attention with a mask."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from train.model import attention
from train.model.attention import has_varlen_kernel, packed_attention

HEADS, DIM = 3, 8


def random_states(tokens, seed=0):
    torch.manual_seed(seed)
    return [torch.randn(1, HEADS, tokens, DIM, requires_grad=True) for _ in range(3)]


def plain(query, key, value, lengths, window, scaling):
    """One product over the whole pack, with everything outside the row (and window) masked."""
    row = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    place = torch.arange(len(row))
    seen = row[:, None] == row[None]
    if window is not None:
        seen &= (place[:, None] - place[None]).abs() < window
    output = scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scaling)
    return output.transpose(1, 2)


@pytest.mark.parametrize("longest_product", [0, 6, 256], ids=["fused", "mixed", "products"])
@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("lengths", [[5], [1, 1, 1], [4, 0, 9, 2, 7], [5, 5, 3, 3, 3]])
def test_equals_masked_attention(lengths, window, longest_product, monkeypatch):
    monkeypatch.setattr(attention, "_LONGEST_PRODUCT", longest_product)
    states = random_states(sum(lengths))
    boundaries = torch.tensor([0, *lengths]).cumsum(0).int()
    output, weights = packed_attention(
        torch.nn.Module(),
        *states,
        None,
        cu_seqlens=boundaries,
        max_seqlen=16,
        scaling=0.3,
        sliding_window=window,
    )
    expected = plain(*states, lengths, window, 0.3)
    assert weights is None
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    upstream = torch.randn_like(expected)
    gradients = torch.autograd.grad(output, states, upstream)
    for got, want in zip(gradients, torch.autograd.grad(expected, states, upstream), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_even_attention_has_no_gradient_in_low_precision():
    """Where all keys are equal the query decides nothing, so its gradient is 0.

    Weights of 1/100 are all rounded to the same side. Taken as they are, they push all queries one
    way; models then learned token frequencies and nothing else in the steps that the quickstart
    has.
    """
    torch.manual_seed(0)
    length, heads, dim = 100, 4, 64
    query = torch.randn(1, heads, length, dim).bfloat16().requires_grad_()
    key = torch.randn(1, heads, 1, dim).bfloat16().expand_as(query)
    value = torch.randn(1, heads, 1, dim) + 0.1 * torch.randn(query.shape)
    output, _ = packed_attention(
        torch.nn.Module(),
        *(query, key, value.bfloat16(), None),
        cu_seqlens=torch.tensor([0, length]),
        max_seqlen=length,
    )
    output.backward(torch.randn(output.shape).bfloat16())
    assert query.grad.float().norm() < 0.02  # 0.15 with the weights as they are


def test_scaling_defaults_to_the_root_of_the_head_dimension():
    states = random_states(6)
    output, _ = packed_attention(
        torch.nn.Module(), *states, None, cu_seqlens=torch.tensor([0, 6]), max_seqlen=6
    )
    torch.testing.assert_close(output, plain(*states, [6], None, None), rtol=1e-5, atol=1e-5)


def test_bf16_keeps_scores_in_fp32():
    """In bf16 the result is as near to fp32 as its inputs' and output's rounding allows."""
    states = [(4 * s).detach().bfloat16() for s in random_states(40)]
    boundaries = torch.tensor([0, 40])
    output, _ = packed_attention(
        torch.nn.Module(), *states, None, cu_seqlens=boundaries, max_seqlen=40
    )
    expected = plain(*(s.float() for s in states), [40], None, None)
    assert output.dtype == torch.bfloat16
    assert ((output.float() - expected).norm() / expected.norm()) < 4e-3


def test_varlen_kernel_needs_ampere_and_low_precision():
    assert has_varlen_kernel(torch.float16, 64, (8, 0))
    assert has_varlen_kernel(torch.bfloat16, 64, (9, 0))
    assert not has_varlen_kernel(torch.float32, 64, (9, 0))
    assert not has_varlen_kernel(torch.float16, 64, (7, 5))
    assert not has_varlen_kernel(torch.float16, 20, (9, 0))
