"""Packed attention against plain attention with a mask."""

import inspect

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from train.model import attention
from train.model.attention import packed_attention, why_no_kernel

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


@pytest.mark.parametrize(
    ("longest_product", "tile"),
    [(0, 64), (6, 64), (256, 64), (256, 1), (256, 4)],
    ids=["fused", "mixed", "products", "tiles of one", "tiles"],
)
@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize(
    "lengths", [[5], [1, 1, 1], [4, 0, 9, 2, 7], [5, 5, 3, 3, 3], [17, 9, 9, 1, 16]]
)
def test_equals_masked_attention(lengths, window, longest_product, tile, monkeypatch):
    monkeypatch.setattr(attention, "_LONGEST_PRODUCT", longest_product)
    monkeypatch.setattr(attention, "_TILE", tile)
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


@pytest.mark.parametrize(
    ("device", "dtype", "capability", "head_dim", "reason"),
    [
        ("cuda", torch.float16, (8, 0), 64, None),
        ("cuda", torch.bfloat16, (9, 0), 256, None),
        ("cpu", torch.float32, (0, 0), 5, None),
        ("cuda", torch.float32, (9, 0), 64, "takes fp16 and bf16 only"),
        ("cuda", torch.float16, (7, 5), 64, "compute capability 8.0, this one has 7.5"),
        ("cuda", torch.float16, (9, 0), 20, "model's have 20"),
        ("cuda", torch.float16, (9, 0), 264, "model's have 264"),
        ("xpu", torch.float16, (0, 0), 64, "on xpu"),
    ],
)
def test_why_a_device_has_no_kernel(device, dtype, capability, head_dim, reason, monkeypatch):
    monkeypatch.setattr(attention, "_has_varlen_attn", lambda: True)
    found = why_no_kernel(device, dtype, capability, head_dim)
    assert found is None if reason is None else reason in found


def test_a_torch_without_the_kernel_is_named(monkeypatch):
    monkeypatch.setattr(attention, "_has_varlen_attn", lambda: False)
    assert "this build of torch" in why_no_kernel("cuda", torch.float16, (9, 0), 64)


def test_varlen_attn_of_this_torch_takes_what_we_give():
    """The call itself needs a GPU; torch 2.10 had neither `scale` nor `window_size`."""
    from torch.nn.attention.varlen import varlen_attn

    takes = inspect.signature(varlen_attn).parameters
    assert {"scale", "window_size"} <= takes.keys()
    assert list(takes)[:7] == ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"]


@pytest.mark.parametrize("window", [None, 3])
def test_half_precision_on_a_gpu_is_one_call_of_the_kernel(window, monkeypatch):
    """What the kernel would be given: `[T, heads, head_dim]`, and both sides of the window."""
    calls = []

    def varlen_attn(q, k, v, *boundaries, **keywords):
        calls.append((q.shape, boundaries, keywords))
        return q

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_attn)
    states = [s.detach().half() for s in random_states(6)]
    boundaries = torch.tensor([0, 6])
    output = attention._varlen(*states, boundaries, 6, 0.3, window)
    assert output.shape == states[0].transpose(1, 2).shape
    shape, (starts_q, starts_k, longest_q, longest_k), keywords = calls[0]
    assert shape == states[0][0].transpose(0, 1).shape
    assert starts_q is starts_k is boundaries and longest_q == longest_k == 6
    reach = -1 if window is None else window - 1
    assert keywords == {"scale": 0.3, "window_size": (reach, reach)}


def test_a_varlen_attn_without_window_and_scale_is_none(monkeypatch):
    """As torch 2.10 had it."""
    from torch.nn.attention import varlen

    def older(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False):
        raise NotImplementedError

    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    attention._has_varlen_attn.cache_clear()
    try:
        assert attention._has_varlen_attn()
        monkeypatch.setattr(varlen, "varlen_attn", older)
        attention._has_varlen_attn.cache_clear()
        assert not attention._has_varlen_attn()
    finally:
        attention._has_varlen_attn.cache_clear()
