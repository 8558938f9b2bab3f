"""A micro-batch's arrays as the keyword arguments of a model's forward."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from train.data.collate import IGNORE_INDEX, MicroBatch, power_of_two


def model_inputs(
    batch: MicroBatch, model: PreTrainedModel, device: torch.device, *, static: bool = False
) -> dict[str, Any]:
    """The keyword arguments for the model's forward.

    The tail of a pack is cut away on a CPU. On a GPU it stays, as rows of its own, because
    the attention kernel leaves memory that is in no row unwritten. A pack without rows becomes
    one row of padding without masked positions: its loss is 0, with a gradient of zeros.

    Copies to a GPU are asynchronous: the batch's buffers must stay as they are until the
    step has ended there.

    Args:
        batch: of the loader.
        model: prepared by `prepare_packed`, or by `prepare_padded` for padded batches.
        device: where the model is.
        static: cut nothing, and round the numbers of masked positions and rows up, so that
            few different shapes occur (for torch.compile).

    Returns:
        `input_ids`, `masked_positions` and what else the model needs.
    """
    if batch.cu_seqlens is None:
        arrays = _padded_arrays(batch, static)
    else:
        arrays = _packed_arrays(batch, cut=device.type == "cpu" and not static)
    if not _takes_token_types(type(model).forward):
        del arrays["token_type_ids"]
    if batch.pair_labels is not None:
        arrays["row_starts"] = _row_starts(batch, static)
    arrays["masked_positions"] = _filled(batch.positions, 0, static)
    if static and "cu_seqlens" in arrays:
        arrays["cu_seqlens"] = _repeat_last(arrays["cu_seqlens"])
    inputs: dict[str, Any] = {key: _to_device(value, device) for key, value in arrays.items()}
    if "cu_seqlens" in arrays:
        inputs["max_seqlen"] = batch.max_seqlen
    return inputs


@functools.lru_cache
def _takes_token_types(forward: Any) -> bool:
    return "token_type_ids" in inspect.signature(forward).parameters


def mlm_labels(batch: MicroBatch, device: torch.device, *, static: bool = False) -> Tensor:
    """Int64 `[M]`, the labels of `masked_positions` of `model_inputs(static=static)`."""
    return _to_device(_filled(batch.labels, IGNORE_INDEX, static), device)


def pair_labels(batch: MicroBatch, device: torch.device, *, static: bool = False) -> Tensor:
    """Labels of the pair head's logits: int64 `[rows]`; `IGNORE_INDEX` where a row has none."""
    assert batch.pair_labels is not None
    return _to_device(_filled(batch.pair_labels, IGNORE_INDEX, static), device)


def _packed_arrays(batch: MicroBatch, cut: bool) -> dict[str, np.ndarray]:
    """Arrays over `[1, tokens]` in which every token is in a row."""
    assert batch.cu_seqlens is not None and batch.covering is not None
    size, boundaries = batch.input_ids.shape[1], batch.covering
    if cut:
        size = max(batch.tokens, 1)
        boundaries = batch.cu_seqlens if batch.rows else np.array([0, size], np.int32)
    return {
        "input_ids": batch.input_ids[:, :size],
        "position_ids": batch.position_ids[:, :size],
        "token_type_ids": batch.token_type_ids[:, :size],
        "cu_seqlens": boundaries,
    }


def _padded_arrays(batch: MicroBatch, static: bool) -> dict[str, np.ndarray]:
    """Arrays over `[rows, L]`; a batch without rows keeps one token of one."""
    assert batch.attention_mask is not None
    rows = len(batch.input_ids) if static else max(batch.rows, 1)
    attention_mask = batch.attention_mask[:rows].copy()
    attention_mask[batch.rows :, 0] = 1  # a softmax over nothing is not a number
    return {
        "input_ids": batch.input_ids[:rows],
        "token_type_ids": batch.token_type_ids[:rows],
        "attention_mask": attention_mask,
    }


def _row_starts(batch: MicroBatch, static: bool) -> np.ndarray:
    """The flat index of each row's first token, int64."""
    if batch.cu_seqlens is not None:
        starts = batch.cu_seqlens[: batch.rows].astype(np.int64)
    else:
        starts = np.arange(batch.rows, dtype=np.int64) * batch.input_ids.shape[1]
    return _filled(starts, 0, static)


def _filled(array: np.ndarray, value: int, static: bool) -> np.ndarray:
    """Append `value` until the length is a power of two or a multiple of 1024, if `static`."""
    if not static:
        return array
    capacity = min(power_of_two(len(array), 64), -(-max(len(array), 1) // 1024) * 1024)
    return np.concatenate([array, np.full(capacity - len(array), value, array.dtype)])


def _repeat_last(boundaries: np.ndarray) -> np.ndarray:
    """Append empty rows until the length is a power of two."""
    missing = power_of_two(len(boundaries), 64) - len(boundaries)
    return np.concatenate([boundaries, np.full(missing, boundaries[-1], boundaries.dtype)])


def _to_device(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)
