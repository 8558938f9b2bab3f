"""Tiny random models of every architecture, and packs with the same rows padded."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from transformers import (
    AlbertConfig,
    AutoModelForMaskedLM,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ErnieConfig,
    ModernBertConfig,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    XLMRobertaConfig,
)

from train.data.collate import MicroBatch, cover_padding
from train.model.vocabulary_check import position_offset

VOCAB = 60
CPU = torch.device("cpu")

_SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.2,  # so that attention matters
}
_MODERN = {k: v for k, v in _SIZES.items() if "dropout" not in k}

CONFIGS: dict[str, PretrainedConfig] = {
    "bert": BertConfig(**_SIZES),
    "roberta": RobertaConfig(**_SIZES, pad_token_id=1),
    "xlm-roberta": XLMRobertaConfig(**_SIZES, pad_token_id=1),
    "electra": ElectraConfig(**_SIZES, embedding_size=16),
    "distilbert": DistilBertConfig(
        vocab_size=VOCAB,
        dim=32,
        n_layers=2,
        n_heads=4,
        hidden_dim=48,
        max_position_embeddings=64,
        dropout=0.0,
        attention_dropout=0.0,
        initializer_range=0.2,
    ),
    "ernie": ErnieConfig(**_SIZES),
    "albert": AlbertConfig(**_SIZES, embedding_size=16),
    "modernbert": ModernBertConfig(
        **_MODERN,
        local_attention=8,
        global_attn_every_n_layers=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
    ),
}
DEBERTA = DebertaV2Config(**_SIZES, relative_attention=True, pos_att_type=["c2p", "p2c"])


def make_model(config: PretrainedConfig) -> PreTrainedModel:
    """A model with random weights, in training mode."""
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(copy.deepcopy(config)).train()


@dataclass(frozen=True)
class Padded:
    """Rows one a line: int64 `[rows, L]`; labels are -100 where nothing is masked."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor


def make_pack(
    lengths: list[int], size: int = 0, seed: int = 0, model: PreTrainedModel | None = None
) -> MicroBatch:
    """A pack of random rows, a fifth of the tokens masked; `size` tokens of memory at least.

    Positions are `model`'s, or begin at 0.
    """
    rng = np.random.default_rng(seed)
    tokens = sum(lengths)
    size = max(size, tokens)
    ids, positions = np.zeros((2, 1, size), np.int64)
    ids[0, :tokens] = rng.integers(5, VOCAB, tokens)
    positions[0, :tokens] = np.concatenate([np.arange(n) for n in [*lengths, 0]])
    positions[0, :tokens] += 0 if model is None else position_offset(model)
    room = np.zeros(len(lengths) + 2 + size // 128 + 1, np.int32)
    room[: len(lengths) + 1] = np.cumsum([0, *lengths])
    count, max_seqlen = cover_padding(room, len(lengths), size, max(lengths, default=0))
    masked = np.sort(rng.choice(tokens, -(-tokens // 5), replace=False)).astype(np.int64)
    return MicroBatch(
        input_ids=ids,
        position_ids=positions,
        token_type_ids=np.zeros_like(ids),
        cu_seqlens=room[: len(lengths) + 1],
        covering=room[:count],
        max_seqlen=max_seqlen,
        attention_mask=None,
        positions=masked,
        labels=rng.integers(5, VOCAB, len(masked)),
        words=np.arange(len(masked), dtype=np.int32),
        pair_labels=None,
        rows=len(lengths),
        tokens=tokens,
    )


def pad(batch: MicroBatch, pad_id: int) -> Padded:
    """The rows of a pack as stock models take them."""
    assert batch.cu_seqlens is not None
    lengths = np.diff(batch.cu_seqlens)
    shape = (len(lengths), int(lengths.max()))
    ids, mask, labels = np.full(shape, pad_id), np.zeros(shape, np.int64), np.full(shape, -100)
    flat = np.full(batch.input_ids.size, -100)
    flat[batch.positions] = batch.labels
    for row, (start, length) in enumerate(zip(batch.cu_seqlens, lengths, strict=False)):
        ids[row, :length] = batch.input_ids[0, start : start + length]
        mask[row, :length] = 1
        labels[row, :length] = flat[start : start + length]
    return Padded(*(torch.from_numpy(a) for a in (ids, mask, labels)))


def padded_batch(batch: MicroBatch, pad_id: int) -> MicroBatch:
    """The rows of a pack in the loader's padded layout."""
    padded = pad(batch, pad_id)
    labels = padded.labels.flatten().numpy()
    positions = np.flatnonzero(labels != -100)
    return MicroBatch(
        input_ids=padded.input_ids.numpy(),
        position_ids=np.tile(np.arange(padded.input_ids.shape[1]), (batch.rows, 1)),
        token_type_ids=np.zeros(padded.input_ids.shape, np.int64),
        cu_seqlens=None,
        covering=None,
        max_seqlen=0,
        attention_mask=padded.attention_mask.numpy(),
        positions=positions,
        labels=labels[positions],
        words=np.arange(len(positions), dtype=np.int32),
        pair_labels=None,
        rows=batch.rows,
        tokens=batch.tokens,
    )
