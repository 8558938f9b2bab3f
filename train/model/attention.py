"""Packed attention: rows lie end to end in one `[1, T]` buffer and never see each other.

Stock Hugging Face models call whatever function is registered under their attention
implementation's name and hand every extra keyword argument of `forward` through to it. So
packing needs no model of our own: `register()` adds one attention function, which reads the
row boundaries from `cu_seqlens`, and one mask function, which makes no mask.

Attention dropout is not applied (no variable-length kernel has it); hidden dropout is.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Iterator
from typing import Any

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
    if query.is_cuda and query.dtype != torch.float32:  # `why_no_kernel` was asked at set-up
        return _varlen(query, key, value, cu_seqlens, max_seqlen, scaling, sliding_window), None
    return _row_by_row(query, key, value, cu_seqlens, scaling, sliding_window), None


def gpu_capability(device: torch.device) -> tuple[int, int]:
    """A GPU's compute capability; (0, 0) of other devices."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (0, 0)


def why_no_kernel(
    device: str, dtype: torch.dtype, capability: tuple[int, int], head_dim: int
) -> str | None:
    """Why rows cannot be packed on a device, in words; None where they can.

    A CPU takes rows one after the other; a GPU needs flash attention of variable length, which
    is there for half precision, on compute capability 8.0 (Ampere) and above.

    Args:
        device: torch's name of its type, such as "cpu" or "cuda".
        dtype: of the attention's states.
        capability: of `gpu_capability`.
        head_dim: of the attention's states.
    """
    if device == "cpu":
        return None
    if device != "cuda":
        return f"there is no attention of variable length on {device}"
    if dtype not in (torch.float16, torch.bfloat16):
        return "attention of variable length takes fp16 and bf16 only on a GPU"
    if capability < (8, 0):
        return (
            "attention of variable length needs a GPU of compute capability 8.0, this one has "
            f"{capability[0]}.{capability[1]}"
        )
    if head_dim % 8 or head_dim > 256:
        return (
            "attention of variable length needs heads of a multiple of 8, at most 256, this "
            f"model's have {head_dim}"
        )
    if not _has_varlen_attn():
        return "this build of torch has no attention of variable length"
    return None


@functools.cache
def _has_varlen_attn() -> bool:
    """Whether torch was built with flash attention and takes a window and a scale (2.11)."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    takes = inspect.signature(varlen_attn).parameters
    built = torch.backends.cuda.is_flash_attention_available()
    return built and {"scale", "window_size"} <= takes.keys()


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

    # The backward of `squeeze` is a view; that of `[0]` fills a tensor with zeros and copies.
    q, k, v = (states.squeeze(0).transpose(0, 1) for states in (query, key, value))
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
    """Attend row after row, on any device and in any dtype; returns `[1, T, heads, head_dim]`."""
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    lengths = cu_seqlens.diff().tolist()
    longest = max(lengths)
    if sliding_window is not None:  # long rows are cut into tiles, which see no more keys than this
        longest = min(longest, _TILE + 2 * (sliding_window - 1))
    if query.device.type == "cpu" and longest <= _LONGEST_PRODUCT:
        return _Products.apply(query, key, value, tuple(lengths), scaling, sliding_window)
    outputs = []
    # `split`, unlike slices, has a backward that writes each gradient once.
    rows = zip(*(states.split(lengths, dim=2) for states in (query, key, value)), strict=True)
    for q, k, v in rows:  # [1, heads, length, head_dim]
        mask = _window_mask(q.shape[2], sliding_window, q.device)
        outputs.append(scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling))
    return torch.cat(outputs, dim=2).transpose(1, 2)


# Measured on a CPU with AVX512-BF16, forward and backward, against the CPU's flash attention, whose
# backward is slow in bf16: plain products take 0.35 of its time at 128 tokens, 0.6 at 256 and as
# much at 512. Beyond that the weights kept for the backward become large.
_LONGEST_PRODUCT = 512

# Rows of equal length, which packing puts side by side, are computed at once as long as their
# scores are no more than those of one row of this length, so that they stay in the cache.
_CACHED_SCORES = 128 * 128

# Queries that are computed at once under a sliding window: with the 128 keys around them that
# ModernBERT's window has, their scores are about as many as `_CACHED_SCORES`.
_TILE = 64


class _Products(torch.autograd.Function):
    """Attention by its definition, with what flash attention keeps in fp32 and in low precision.

    Scores, softmax and its gradient are computed in fp32; products with probabilities and with
    the scores' gradients are taken in the states' type, as in Dao et al. 2022, "FlashAttention",
    algorithms 1 and 4, and so are the probabilities' own gradients. One function for the whole pack
    writes every row in its place, with no copies to split and join rows.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        lengths: tuple[int, ...],
        scaling: float,
        sliding_window: int | None,
    ) -> Tensor:
        """Return `[1, T, heads, head_dim]` of states `[1, heads, T, head_dim]`."""
        runs = _equal_rows(lengths)
        output = _like_packed(query)
        weights = []
        for o, q, k, v in _by_runs(runs, output, query, key, value):
            for queries, keys, far in _tiles(q.shape[2], sliding_window):
                near_k, near_v = k[:, :, keys], v[:, :, keys]
                scores = torch.matmul(q[:, :, queries].float(), near_k.float().mT).mul_(scaling)
                if far is not None:
                    scores.masked_fill_(far, float("-inf"))
                weights.append(torch.softmax(scores, dim=-1).to(v.dtype))
                o[:, :, queries] = torch.matmul(weights[-1], near_v)
        ctx.runs, ctx.scaling, ctx.sliding_window = runs, scaling, sliding_window
        ctx.save_for_backward(query, key, value, *weights)
        return output.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients like the states'; masked scores have weight 0, and so gradient 0."""
        query, key, value, *weights = ctx.saved_tensors
        given = gradients[0].transpose(1, 2)
        made = [_like_packed(states) for states in (query, key, value)]
        remaining = iter(weights)
        for views in _by_runs(ctx.runs, *made, given, query, key, value):
            for_q, for_k, for_v, g, q, k, v = views
            tiles = _tiles(q.shape[2], ctx.sliding_window)
            if len(tiles) > 1:  # tiles share keys, whose gradients are sums
                for_k.zero_()
                for_v.zero_()
            for queries, keys, _ in tiles:
                _write_gradients(
                    (for_q[:, :, queries], for_k[:, :, keys], for_v[:, :, keys]),
                    (g[:, :, queries], q[:, :, queries], k[:, :, keys], v[:, :, keys]),
                    next(remaining),
                    ctx.scaling,
                    adds=len(tiles) > 1,
                )
        return *made, None, None, None


def _write_gradients(
    made: tuple[Tensor, ...],
    states: tuple[Tensor, ...],
    weights: Tensor,
    scaling: float,
    *,
    adds: bool,
) -> None:
    """Write a tile's gradients of query, key and value; those of keys and values may be added.

    Args:
        made: where they are written, like the states.
        states: the output's gradient, query, key and value, `[rows, heads, tokens, head_dim]`.
        weights: `[rows, heads, queries, keys]`.
        scaling: of the scores.
        adds: to what stands there.
    """
    (for_q, for_k, for_v), (g, q, k, v) = made, states
    for_w = torch.matmul(g, v.mT).float()
    # Rounded, the weights of even attention are all too large, or all too small.
    exact = weights.float()
    exact = exact / exact.sum(-1, keepdim=True)
    for_scores = torch._softmax_backward_data(for_w, exact, -1, torch.float32)
    for_scores = for_scores.mul_(scaling).to(q.dtype)
    for_q.copy_(torch.matmul(for_scores, k))
    write = Tensor.add_ if adds else Tensor.copy_
    write(for_v, torch.matmul(weights.mT, g))
    write(for_k, torch.matmul(for_scores.mT, q))


def _like_packed(states: Tensor) -> Tensor:
    """Empty `[1, heads, T, head_dim]` with a token's heads side by side, as projections want it."""
    return torch.empty_like(
        states.transpose(1, 2), memory_format=torch.contiguous_format
    ).transpose(1, 2)


def _equal_rows(lengths: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return (rows, length) of runs of equal neighbours, cut to `_CACHED_SCORES`; no empty rows."""
    runs = []
    for length, group in itertools.groupby(filter(None, lengths)):
        rows, most = len(list(group)), max(1, _CACHED_SCORES // length**2)
        runs += [(min(most, rows - done), length) for done in range(0, rows, most)]
    return runs


def _by_runs(runs: list[tuple[int, int]], *packs: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """For each run a view `[rows, heads, length, head_dim]` of each pack."""
    tokens = [rows * length for rows, length in runs]
    for (rows, length), *views in zip(runs, *(p[0].split(tokens, 1) for p in packs), strict=True):
        yield tuple(view.unflatten(1, (rows, length)).transpose(0, 1) for view in views)


def _tiles(length: int, sliding_window: int | None) -> list[tuple[slice, slice, Tensor | None]]:
    """What of a row is computed at once: queries, the keys near any of them, and who is too far.

    That is the whole row, or under a window, if the row is long, squares along the diagonal.
    """
    reach = length if sliding_window is None else sliding_window - 1
    size = _TILE if length > _TILE + 2 * reach else max(length, 1)
    tiles = []
    for first in range(0, length, size):
        end = min(first + size, length)
        keys = slice(max(0, first - reach), min(end + reach, length))
        far = _too_far(end - first, keys.stop - keys.start, first - keys.start, reach)
        tiles.append((slice(first, end), keys, far))
    return tiles


@functools.lru_cache(maxsize=64)
def _too_far(queries: int, keys: int, offset: int, reach: int) -> Tensor | None:
    """Bool `[queries, keys]`, True where the distance is above `reach`; None where it nowhere is.

    The first query is at the place of key number `offset`.
    """
    if max(offset + queries - 1, keys - 1 - offset) <= reach:
        return None
    return (torch.arange(queries)[:, None] + offset - torch.arange(keys)).abs() > reach


def _window_mask(length: int, sliding_window: int | None, device: torch.device) -> Tensor | None:
    """Bool `[length, length]`, True where the key is near enough; None where all keys are."""
    if sliding_window is None:
        return None
    far = _too_far(length, length, 0, sliding_window - 1)
    return None if far is None else ~far.to(device)
