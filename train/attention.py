"""Packed attention: rows lie end to end in one `[1, T]` buffer and never see each other.

Stock Hugging Face models call whatever function is registered under their attention
implementation's name and hand every extra keyword argument of `forward` through to it. So
packing needs no model of our own: `register()` adds one attention function, which reads the
row boundaries from `cu_seqlens`, and one mask function, which makes no mask.

Attention dropout is not applied (no variable-length kernel has it); hidden dropout is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

PACKED = "wholeword_packed"


def register() -> None:
    """Make `PACKED` known to every model of transformers; harmless when repeated."""
    AttentionInterface.register(PACKED, packed_attention)
    AttentionMaskInterface.register(PACKED, no_mask)


def no_mask(*args: object, **kwargs: object) -> None:
    """Build no attention mask: the row boundaries say who attends to whom."""


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    cu_seqlens: Tensor,
    max_seqlen: int,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Attend within each row of a pack; the signature is transformers' attention interface.

    Args:
        module: the calling attention layer (unused).
        query: `[1, heads, T, head_dim]`; `key` and `value` alike.
        key: see query.
        value: see query.
        attention_mask: always None, from `no_mask`.
        cu_seqlens: int32 `[rows + 1]`, where each row begins, then T. A row may be empty.
        max_seqlen: no row is longer than this.
        scaling: what to multiply the dot products by; None for `head_dim ** -0.5`.
        sliding_window: a key at distance d is seen if d < sliding_window (the convention
            that ModernBERT's layers pass); None for the whole row.
        kwargs: what else the model passes, attention dropout among it, is not used.

    Returns:
        `[1, T, heads, head_dim]`, and None for the attention weights.
    """
    if query.is_cuda and has_varlen_kernel(
        query.dtype, query.shape[-1], torch.cuda.get_device_capability(query.device)
    ):
        return _varlen(query, key, value, cu_seqlens, max_seqlen, scaling, sliding_window), None
    return _row_by_row(query, key, value, cu_seqlens, scaling, sliding_window), None


def has_varlen_kernel(dtype: torch.dtype, head_dim: int, capability: tuple[int, int]) -> bool:
    """Return whether flash attention takes these states on a GPU of this compute capability."""
    low = dtype in (torch.float16, torch.bfloat16)
    return low and head_dim % 8 == 0 and head_dim <= 256 and capability >= (8, 0)


def _varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    scaling: float | None,
    sliding_window: int | None,
) -> Tensor:
    """One flash-attention call for all rows; CUDA, fp16 or bf16."""
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    reach = -1 if sliding_window is None else sliding_window - 1
    output: Tensor = varlen_attn(
        q,  # [T, heads, head_dim]
        k,
        v,
        cu_seqlens,
        cu_seqlens,
        max_seqlen,
        max_seqlen,
        scale=scaling,
        window_size=(reach, reach),
    )  # type: ignore[assignment]
    return output[None]


@torch.compiler.disable  # a graph for every combination of row lengths would be made
def _row_by_row(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: Tensor,
    scaling: float | None,
    sliding_window: int | None,
) -> Tensor:
    """Attend row after row, on any device and in any dtype.

    `split`, unlike slices, has a backward that writes each gradient once.
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    lengths = cu_seqlens.diff().tolist()
    rows = zip(*(states.split(lengths, dim=2) for states in (query, key, value)), strict=True)
    outputs = []
    for q, k, v in rows:  # [1, heads, length, head_dim]
        length = q.shape[2]
        mask = _window_mask(length, sliding_window, q.device)
        if length > _LONGEST_PRODUCT:
            outputs.append(scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling))
        elif length:
            outputs.append(_products(q, k, v, mask, scaling))
    return torch.cat(outputs, dim=2).transpose(1, 2)


# Measured on a CPU with AVX512-BF16: up to here, forward and backward by plain matrix products
# take 0.5 to 0.8 of the time of the CPU's flash attention, whose backward is slow in bf16; beyond
# it they are no faster and the weights that they keep for the backward become large.
_LONGEST_PRODUCT = 256


def _products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """Attention by its definition; scores and softmax in fp32, as in the fused kernels."""
    scores = torch.matmul(q.float() * scaling, k.float().transpose(2, 3))
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return torch.matmul(torch.softmax(scores, dim=-1).to(v.dtype), v)


def _window_mask(length: int, sliding_window: int | None, device: torch.device) -> Tensor | None:
    """Bool `[length, length]`, True where the key is near enough; None where all keys are."""
    if sliding_window is None or length <= sliding_window:
        return None
    position = torch.arange(length, device=device)
    return (position[:, None] - position[None, :]).abs() < sliding_window
