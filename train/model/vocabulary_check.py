"""Does a model fit the shards: it loads whole, has the same vocabulary and enough positions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError
from torch import nn
from transformers import AutoTokenizer, PreTrainedModel

from preprocess.errors import WholewordError
from train.model.presets import PRESETS, is_folder
from train.model.shards_vocabulary import Vocabulary
from train.model.weight_files import find_damaged_weights

REMEDY = (
    f"give a preset ({', '.join(PRESETS)}), a folder with config.json and model.safetensors, "
    "or the id of a model on the hub"
)


def is_path(name: str) -> bool:
    """Tell a folder's name from a hub id, which has one slash at most."""
    return name.startswith(("/", ".", "~")) or name.endswith("/") or name.count("/") > 1


def check_folder(name: str, remedy: str) -> None:
    """Refuse a path where no folder is.

    Raises:
        WholewordError: no folder is there.
    """
    if is_path(name) and not is_folder(Path(name)):
        raise WholewordError(f"{name}: no such folder; {remedy}")


@contextlib.contextmanager
def readable_errors(
    name: str, overrides: Mapping[str, object] | None = None, remedy: str = REMEDY
) -> Iterator[None]:
    """Turn what transformers raises for a missing, damaged or unfit model into one line."""
    try:
        yield
    except Exception as error:  # a config.json can make transformers raise nearly anything
        cause = cause_of(error)
        if damaged := find_damaged_weights(name):
            raise WholewordError(damaged) from error
        if isinstance(error, SafetensorError):
            remedy = "delete it from the hub's cache, and it is downloaded again"
        if "ignore_mismatched_sizes" in cause:
            cause = "its weights have other shapes than its configuration or the overrides say"
        if overrides:
            remedy = "leave --config-overrides out, or change its values"
        raise WholewordError(
            f"{name}: cannot be loaded as a masked language model ({cause}); {remedy}"
        ) from error


def cause_of(error: Exception) -> str:
    """An error of a library in one line, with its type where its text alone says little."""
    text = next(iter(str(error).strip().splitlines()), "")[:300]
    if isinstance(error, OSError | ValueError | RuntimeError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def check_encoder_weights(model: PreTrainedModel, missing: Iterable[str], name: str) -> None:
    """Raise if the checkpoint lacks weights of the encoder; heads may be new."""
    encoder = f"{model.base_model_prefix}."
    lacking = sorted(key for key in missing if key.startswith(encoder) and "pooler" not in key)
    if lacking:
        raise WholewordError(
            f"{name}: its weights lack {len(lacking)} of the encoder's, {lacking[0]} first; "
            f"the checkpoint belongs to another architecture than its config.json; {REMEDY}"
        )


def fit_vocabulary(
    model: PreTrainedModel, name: str, vocabulary: Vocabulary, trust_remote_code: bool
) -> int | None:
    """Apply the vocabulary rule of `load_model` in place; where new embeddings begin, if any."""
    entries = int(model.get_input_embeddings().num_embeddings)  # type: ignore[arg-type]
    if not check_own_tokenizer(name, vocabulary, trust_remote_code):
        if not has_room(entries, vocabulary.size):
            raise WholewordError(
                f"{name}: has {entries} vocabulary entries and no tokenizer files, the shards "
                f"have {vocabulary.size}; build the shards with this model's tokenizer, or put "
                "its tokenizer files beside its config.json"
            )
        return None
    if vocabulary.size <= entries:
        return None
    model.resize_token_embeddings(vocabulary.size, mean_resizing=False)
    return entries


def has_room(entries: int, size: int) -> bool:
    """Whether a model's entries are a vocabulary's, or those rounded up, as is done for speed."""
    return entries in {-(-size // multiple) * multiple for multiple in (1, 8, 16, 32, 64, 128)}


def check_own_tokenizer(name: str, vocabulary: Vocabulary, trust_remote_code: bool) -> bool:
    """Whether a tokenizer is beside a model.

    Raises:
        WholewordError: it gives an id to another token than the shards do.
    """
    own = _tokens(name, trust_remote_code)
    if own is not None:
        _check_same_tokens(own, _tokens(str(vocabulary.folder), False) or {}, name)
    return own is not None


def _tokens(name: str, trust_remote_code: bool) -> dict[int, str] | None:
    """Id -> token of the tokenizer at a folder or hub id, or None if there is none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, TypeError, AttributeError):
        # TypeError, AttributeError: a slow tokenizer class that finds its vocabulary file missing.
        return None
    tokens = {index: token for token, index in tokenizer.get_vocab().items()}
    # transformers makes up a tokenizer of the special tokens alone where only config.json is.
    return tokens if len(tokens) > len(tokenizer.all_special_ids) else None


def _check_same_tokens(own: dict[int, str], shards: dict[int, str], name: str) -> None:
    """Raise at the first id that means one token to the model and another to the shards."""
    for index, token in sorted(own.items()):
        if shards.get(index) != token:
            theirs = f"is {shards[index]!r}" if index in shards else "does not exist"
            remedy = (
                "build the shards with this model's tokenizer (--tokenizer), or train a preset "
                "from nothing"
            )
            if token.startswith("[unused") and index in shards:
                remedy = (
                    "if you gave unused entries a meaning, put the edited tokenizer's files "
                    "beside the model's config.json, in place of its own"
                )
            raise WholewordError(
                f"{name}: id {index} is {token!r} in the model's vocabulary and {theirs} in the "
                f"shards'; {remedy}"
            )


def position_offset(model: PreTrainedModel) -> int:
    """The position id of a row's first token.

    RoBERTa and its kin keep position ids up to their padding index for padding, and say so
    by a position embedding with a padding_idx.
    """
    table = _position_table(model)
    padding = None if table is None else table.padding_idx
    return 0 if padding is None else padding + 1


def _position_table(model: PreTrainedModel) -> nn.Embedding | None:
    """The learned position embedding, or None (rotary models have none)."""
    for name, module in model.base_model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module
    return None


def check_positions(model: PreTrainedModel, name: str, max_length: int) -> None:
    """Raise if rows of `max_length` tokens do not fit the model's positions."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is None or positions < 0:  # models of relative positions have no bound
        return
    room = positions - position_offset(model)
    if max_length > room:
        raise WholewordError(
            f"{name}: has positions for {room} tokens, rows of the shards may have {max_length}; "
            f"build the shards with --max-length {room}, or choose a model with more positions"
        )
