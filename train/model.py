"""Stock Hugging Face masked-LM models: load, check, and prepare for packs.

A model is never re-implemented. It is changed from outside in two places: its attention
implementation (`train/attention.py`), and two forward hooks that keep only the masked
positions before the language-model head, so that logits are `[1, M, V]` instead of
`[1, T, V]` (15-21% fewer FLOPs on BERT-base).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    BertForPreTraining,
    PretrainedConfig,
    PreTrainedModel,
)

from preprocess.errors import WholewordError
from train.attention import PACKED, register
from train.fitting import (
    REMEDY,
    Vocabulary,
    check_encoder_weights,
    check_positions,
    fit_vocabulary,
    is_path,
    position_offset,
    readable_errors,
)
from train.presets import PRESETS, apply_overrides, is_folder, preset_config

if TYPE_CHECKING:
    from train.collate import MicroBatch

IGNORE = -100  # the label of a position that has no loss; PyTorch's and transformers' default


# ------------------------------------------------------------------------------- loading


def load_model(
    name: str,
    vocabulary: Vocabulary,
    *,
    overrides: Mapping[str, object] | None = None,
    seed: int = 0,
    pairs: bool = False,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Load a checkpoint, or make a preset from nothing, to fit the shards; fp32, on the CPU.

    Vocabulary: a preset takes the shards'. A checkpoint must give every id of its own
    tokenizer to the same token as the shards do; ids that the shards have beyond those get
    new embeddings. Where a checkpoint has no tokenizer beside it, there is nothing to
    compare tokens with, so the sizes must be equal, or the model's be the shards' rounded
    up to a multiple of 8 to 128, as is done for speed.

    Args:
        name: a preset, a folder, or a hub id. Presets come first: write ./bert-base for a
            folder of that name.
        vocabulary: of the shards.
        overrides: configuration values to replace; strings are read as the type replaced.
        seed: of new weights.
        pairs: also load the head for pairs of sentences (BERT only).
        trust_remote_code: run code that comes with a hub model.

    Raises:
        WholewordError: the model is missing or does not fit the shards.
    """
    overrides = overrides or {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name in PRESETS:
            config = preset_config(name, vocabulary.size, vocabulary.pad_id, vocabulary.max_length)
            apply_overrides(config, overrides, name)
            model = new_model(config, pairs, name)
        else:
            model = _load_checkpoint(name, overrides, pairs, trust_remote_code)
            fit_vocabulary(model, name, vocabulary, trust_remote_code)
    check_positions(model, name, vocabulary.max_length)
    return model


def _load_checkpoint(
    name: str, overrides: Mapping[str, object], pairs: bool, trust_remote_code: bool
) -> PreTrainedModel:
    """Load configuration and weights; pickled weights only as plain tensors (weights_only)."""
    if is_path(name) and not is_folder(Path(name)):
        raise WholewordError(f"{name}: no such folder; {REMEDY}")
    with readable_errors(name):
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    apply_overrides(config, overrides, name)
    model_class = _model_class(config, pairs, name)
    with readable_errors(name):
        model, report = model_class.from_pretrained(
            name,
            config=config,
            dtype=torch.float32,
            weights_only=True,
            output_loading_info=True,
            trust_remote_code=trust_remote_code,
        )
    check_encoder_weights(model, report["missing_keys"], name)
    return model


def _model_class(config: PretrainedConfig, pairs: bool, name: str) -> Any:
    """Return the class that has the heads of the objective."""
    if not pairs:
        return AutoModelForMaskedLM
    if config.model_type != "bert":
        raise WholewordError(
            f"{name}: only BERT models have the head for sentence pairs, this one is "
            f"{config.model_type}; leave the pair objective off"
        )
    return BertForPreTraining


def new_model(config: PretrainedConfig, pairs: bool, name: str) -> PreTrainedModel:
    """Make a model with new weights, and with the head for pairs of sentences if wanted."""
    model_class = _model_class(config, pairs, name)
    return model_class(config) if pairs else model_class.from_config(config)


# ------------------------------------------------------------------- preparing for packs


class _MaskedOnly:
    """The two hooks that keep masked positions only, and what one forward passes between them.

    The first takes `masked_positions` (int64 `[M]`, flat) and `row_starts` (int64 `[rows]`)
    out of the model's keyword arguments, so that models which refuse or drop unknown ones
    work too. The second replaces the base model's `last_hidden_state` by `[1, M, hidden]` and,
    where a head for pairs wants it, its `pooler_output` by that of each row's first token.
    """

    def __init__(self) -> None:
        self.positions: Tensor | None = None
        self.row_starts: Tensor | None = None

    def take(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        kwargs = dict(kwargs)
        self.positions = kwargs.pop("masked_positions", None)
        self.row_starts = kwargs.pop("row_starts", None)
        return args, kwargs

    def keep(self, base: Any, args: tuple[Any, ...], output: Any) -> Any:
        hidden = output["last_hidden_state"]
        flat = hidden.reshape(-1, hidden.shape[-1])
        if self.row_starts is not None:
            first = flat.index_select(0, self.row_starts)
            output["pooler_output"] = base.pooler(first[:, None])
        if self.positions is not None:
            output["last_hidden_state"] = flat.index_select(0, self.positions)[None]
        self.positions = self.row_starts = None
        return output


def prepare_padded(model: PreTrainedModel) -> None:
    """Let the model take `masked_positions`; its attention stays as it is. Repeating is harmless."""
    if any(_is_ours(hook) for hook in model._forward_pre_hooks.values()):
        return
    hooks = _MaskedOnly()
    model.register_forward_pre_hook(hooks.take, with_kwargs=True)
    model.base_model.register_forward_hook(hooks.keep)


def _is_ours(hook: Any) -> bool:
    return isinstance(getattr(hook, "__self__", None), _MaskedOnly)


def prepare_packed(model: PreTrainedModel) -> None:
    """Let the model take packs (`cu_seqlens`, `max_seqlen`) and `masked_positions`.

    Attention dropout, if the model has any, is off from now on: `attention_dropout` says
    how much that was.
    """
    register()
    model.set_attn_implementation(PACKED)
    prepare_padded(model)


def attention_dropout(model: PreTrainedModel) -> float:
    """Return the attention dropout that the configuration asks for, by whichever name."""
    names = ("attention_probs_dropout_prob", "attention_dropout")
    return float(next((getattr(model.config, n) for n in names if hasattr(model.config, n)), 0.0))


def can_pack(model: PreTrainedModel) -> bool:
    """Try whether packed rows are independent in this model; leave the model as it was.

    In evaluation mode, a row's output must be the same alone by the model's own attention,
    packed before a second row, and packed before another second row. Models that ignore
    `cu_seqlens` (DeBERTa-v2) or `position_ids` fail.
    """
    before, training = model.config._attn_implementation, model.training
    register()
    model.eval()
    try:
        with torch.no_grad():
            alone = _probe(model, [5, 6, 7, 8, 9], rows=1)
            model.set_attn_implementation(PACKED)
            if model.config._attn_implementation != PACKED:  # transformers has said why
                return False
            packs = [_probe(model, [5, 6, 7, 8, 9, *second], rows=2) for second in _SECOND_ROWS]
    except (TypeError, ValueError, KeyError, NotImplementedError):
        return False  # the model refuses the arguments or has no attention interface
    finally:
        if model.config._attn_implementation != before:
            model.set_attn_implementation(before)
        model.train(training)
    first, second = (pack[:, : alone.shape[1]] for pack in packs)
    return torch.allclose(first, second, rtol=0, atol=1e-6) and torch.allclose(
        alone, first, rtol=1e-4, atol=1e-4
    )


_SECOND_ROWS = ([10, 11, 12], [14, 13, 13])


def _probe(model: PreTrainedModel, ids: list[int], rows: int) -> Tensor:
    """Return the base model's `[1, len(ids), hidden]` output for one row, or 5 ids and the rest."""
    boundaries = [0, len(ids)] if rows == 1 else [0, 5, len(ids)]
    positions = np.concatenate([np.arange(n) for n in np.diff(boundaries)])
    device = model.device
    kwargs: dict[str, Any] = {
        "input_ids": torch.tensor([ids], device=device),
        "position_ids": torch.tensor(positions, device=device)[None] + position_offset(model),
    }
    if rows == 1:
        del kwargs["position_ids"]  # the model's own, which the packed ones must equal
    else:
        kwargs["cu_seqlens"] = torch.tensor(boundaries, dtype=torch.int32, device=device)
        kwargs["max_seqlen"] = 5
    return model.base_model(**kwargs)["last_hidden_state"].float()


# ------------------------------------------------------------------------ batch and loss


def model_inputs(
    batch: MicroBatch, model: PreTrainedModel, device: torch.device, *, static: bool = False
) -> dict[str, Any]:
    """Return the keyword arguments for the model's forward.

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
        cut = device.type == "cpu" and not static
        arrays = _packed_arrays(batch, position_offset(model), cut)
    if "token_type_ids" not in inspect.signature(type(model).forward).parameters:
        del arrays["token_type_ids"]
    if batch.pair_labels is not None:
        arrays["row_starts"] = _row_starts(batch, static)
    arrays["masked_positions"] = _filled(batch.positions, 0, static)
    inputs: dict[str, Any] = {key: _to_device(value, device) for key, value in arrays.items()}
    if "cu_seqlens" in arrays:
        longest = int(np.diff(arrays["cu_seqlens"]).max())
        inputs["max_seqlen"] = _power_of_two(longest, 128)
        if static:
            inputs["cu_seqlens"] = _to_device(_repeat_last(arrays["cu_seqlens"]), device)
    return inputs


def mlm_labels(batch: MicroBatch, device: torch.device, *, static: bool = False) -> Tensor:
    """Return int64 `[M]`, the labels of `masked_positions` of `model_inputs(static=static)`."""
    return _to_device(_filled(batch.labels, IGNORE, static), device)


def pair_labels(batch: MicroBatch, device: torch.device, *, static: bool = False) -> Tensor:
    """Return int64 `[rows]`, the labels of the pair head's logits; `IGNORE` where a row has none."""
    assert batch.pair_labels is not None
    return _to_device(_filled(batch.pair_labels, IGNORE, static), device)


def mlm_logits(output: Any) -> Tensor:
    """Return `[M, V]` of a model's output, whichever class the model is."""
    logits = output["prediction_logits"] if "prediction_logits" in output else output["logits"]
    return logits.reshape(-1, logits.shape[-1])


def masked_lm_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the sum, in fp32, of the cross-entropy over all labels that are not `IGNORE`.

    Args:
        logits: `[M, V]`, any floating type; M may be 0.
        labels: int64 `[M]`.
    """
    if logits.device.type == "cpu":
        return _SummedCrossEntropy.apply(logits, labels)
    return cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="sum")


class _SummedCrossEntropy(torch.autograd.Function):
    """Cross-entropy a few rows at a time, so that what is computed of them stays in the cache.

    With a vocabulary of 21,128 it takes a third of the time. The gradient, softmax - one-hot, is
    made on the way and kept in the logits' type; fp16 would need the loss's scale for that.
    """

    ROWS = 16

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the fp32 scalar."""
        gradient = torch.empty_like(logits)
        total = logits.new_zeros((), dtype=torch.float32)
        parts = (states.split(_SummedCrossEntropy.ROWS) for states in (gradient, logits, labels))
        for out, some, wanted in zip(*parts, strict=True):
            target, counts = wanted.clamp_min(0)[:, None], (wanted != IGNORE)[:, None]
            log_shares = torch.log_softmax(some, dim=-1, dtype=torch.float32)
            total -= (log_shares.gather(1, target) * counts).sum()
            if ctx.needs_input_grad[0]:
                shares = log_shares.exp_()
                shares.scatter_add_(1, target, shares.new_full(target.shape, -1.0))
                out.copy_(shares.mul_(counts))
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return the logits' gradient."""
        return ctx.saved_tensors[0] * gradients[0].to(torch.float32), None


def _packed_arrays(batch: MicroBatch, offset: int, cut: bool) -> dict[str, np.ndarray]:
    """Return arrays over `[1, tokens]` in which every token is in a row."""
    assert batch.cu_seqlens is not None
    used = int(batch.cu_seqlens[-1])
    tokens = max(used, 1) if cut else batch.input_ids.shape[1]
    longest = int(np.diff(batch.cu_seqlens).max(initial=1))
    tail = np.arange(used, tokens, _power_of_two(longest, 128))[1:]
    ends = [tokens] if tokens > used else []
    return {
        "input_ids": batch.input_ids[:, :tokens],
        "position_ids": batch.position_ids[:, :tokens] + offset,
        "token_type_ids": batch.token_type_ids[:, :tokens],
        "cu_seqlens": np.concatenate([batch.cu_seqlens, tail, ends]).astype(np.int32),
    }


def _padded_arrays(batch: MicroBatch, static: bool) -> dict[str, np.ndarray]:
    """Return arrays over `[rows, L]`; a batch without rows keeps one token of one."""
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
    """Return the flat index of each row's first token, int64."""
    if batch.cu_seqlens is not None:
        starts = batch.cu_seqlens[: batch.rows].astype(np.int64)
    else:
        starts = np.arange(batch.rows, dtype=np.int64) * batch.input_ids.shape[1]
    return _filled(starts, 0, static)


def _filled(array: np.ndarray, value: int, static: bool) -> np.ndarray:
    """Append `value` until the length is a power of two or a multiple of 1024, if `static`."""
    if not static:
        return array
    capacity = min(_power_of_two(len(array), 64), -(-max(len(array), 1) // 1024) * 1024)
    return np.concatenate([array, np.full(capacity - len(array), value, array.dtype)])


def _repeat_last(boundaries: np.ndarray) -> np.ndarray:
    """Append empty rows until the length is a power of two."""
    missing = _power_of_two(len(boundaries), 64) - len(boundaries)
    return np.concatenate([boundaries, np.full(missing, boundaries[-1], boundaries.dtype)])


def _power_of_two(number: int, least: int) -> int:
    """Return the smallest power of two that is at least both."""
    return max(least, 1 << (number - 1).bit_length()) if number else least


def _to_device(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)
