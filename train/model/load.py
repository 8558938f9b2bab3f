"""Stock Hugging Face masked-LM models: from a checkpoint, or from nothing, to fit the shards.

A model is never re-implemented; `packed` says what is changed of it from outside.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    BertForPreTraining,
    PretrainedConfig,
    PreTrainedModel,
)

from preprocess.encode.tokenizer import hub_answers
from preprocess.errors import WholewordError
from train.model.from_nothing import begins_from_nothing, new_config
from train.model.new_weights import NewWeights, mark_new_weights
from train.model.presets import PRESETS, apply_overrides
from train.model.shards_vocabulary import Vocabulary
from train.model.vocabulary_check import (
    REMEDY,
    cause_of,
    check_encoder_weights,
    check_folder,
    check_positions,
    fit_vocabulary,
    readable_errors,
)


def load_model(
    name: str,
    vocabulary: Vocabulary,
    *,
    overrides: Mapping[str, object] | None = None,
    seed: int = 0,
    pairs: bool = False,
    trust_remote_code: bool = False,
    notes: list[str] | None = None,
) -> PreTrainedModel:
    """Load a checkpoint, or make a model from nothing, to fit the shards; fp32, on the CPU.

    What a checkpoint lacks is marked as `new_weights`.

    Vocabulary: what begins from nothing takes the shards'. A checkpoint must give every id of
    its own tokenizer to the same token as the shards do; ids that the shards have beyond those
    get new embeddings. Where a checkpoint has no tokenizer beside it, there is nothing to
    compare tokens with, so the sizes must be equal, or the model's be the shards' rounded
    up to a multiple of 8 to 128, as is done for speed.

    Args:
        name: a preset, a folder, if only of a `config.json`, or a hub id. Presets come
            first: write ./bert-base for a folder of that name.
        vocabulary: of the shards.
        overrides: configuration values to replace; strings are read as the type replaced.
        seed: of new weights.
        pairs: also load the head for pairs of sentences (BERT only).
        trust_remote_code: run code that comes with a hub model.
        notes: takes a line for people where a head is new, or all of a folder's model.

    Raises:
        WholewordError: the model is missing or does not fit the shards.
    """
    overrides = overrides or {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if begins_from_nothing(name):
            config, line = new_config(name, vocabulary, trust_remote_code)
            apply_overrides(config, overrides, name)
            with _readable_configuration(name, overrides):
                model = new_model(config, pairs, name, trust_remote_code)
            if notes is not None and line:
                notes.append(line)
        else:
            model, missing = _load_checkpoint(name, overrides, pairs, trust_remote_code)
            first_row = fit_vocabulary(model, name, vocabulary, trust_remote_code)
            lines = new_heads(missing, name, vocabulary.size)
            heads = missing & {key for key, _ in model.named_parameters()} if lines else ()
            mark_new_weights(model, NewWeights(frozenset(heads), first_row))
            if notes is not None:
                notes.extend(lines)
    check_positions(model, name, vocabulary.max_length)
    return model


def _load_checkpoint(
    name: str, overrides: Mapping[str, object], pairs: bool, trust_remote_code: bool
) -> tuple[PreTrainedModel, set[str]]:
    """Load configuration and weights; pickled weights only as plain tensors (weights_only).

    Returns:
        The model, and the names of the weights that the checkpoint lacks.
    """
    check_folder(name, REMEDY)
    # Without a hub to ask, the library tries every file for seconds, and prints each failure.
    local = Path(name).is_dir() or not hub_answers()
    with readable_errors(name):
        config = AutoConfig.from_pretrained(
            name, trust_remote_code=trust_remote_code, local_files_only=local
        )
    apply_overrides(config, overrides, name)
    model_class = _model_class(config, pairs, name)
    with readable_errors(name, overrides):
        model, report = model_class.from_pretrained(
            name,
            config=config,
            dtype=torch.float32,
            weights_only=True,
            output_loading_info=True,
            trust_remote_code=trust_remote_code,
            local_files_only=local,
        )
    missing = set(report["missing_keys"])
    check_encoder_weights(model, missing, name)
    return model, {key for key in missing if not key.startswith(f"{model.base_model_prefix}.")}


def new_heads(missing: set[str], name: str, entries: int) -> list[str]:
    """Lines about the heads whose weights are new; a checkpoint may lack a bias or two."""
    weights = {key for key in missing if key.endswith(".weight")}
    pair = {key for key in weights if "seq_relationship" in key}
    lines = []
    if weights - pair:
        lines.append(
            f"the masked-LM head is new: {name} has none, so the first loss is that of guessing "
            f"(about {math.log(entries):.1f}) or above"
        )
    if pair:
        lines.append(f"the head for sentence pairs is new: {name} has none")
    return lines


@contextlib.contextmanager
def _readable_configuration(name: str, overrides: Mapping[str, object]) -> Iterator[None]:
    """Turn whatever an impossible configuration raises into one line."""
    try:
        yield
    except WholewordError:
        raise
    except Exception as error:  # transformers checks little: nearly any type comes
        if not overrides and name in PRESETS:
            raise
        if not overrides:
            raise WholewordError(
                f"{name}: its config.json gives no masked language model ({cause_of(error)}); "
                f"mend it, or {REMEDY}"
            ) from error
        changes = ",".join(f"{key}={value}" for key, value in overrides.items())
        raise WholewordError(
            f"{name}: --config-overrides {changes} gives no model that can be made "
            f"({cause_of(error)}); change the values"
        ) from error


def _model_class(config: PretrainedConfig, pairs: bool, name: str) -> Any:
    """The class that has the heads of the objective."""
    if not pairs:
        return AutoModelForMaskedLM
    if config.model_type != "bert":
        raise WholewordError(
            f"{name}: only BERT models have the head for sentence pairs, this one is "
            f"{config.model_type}; leave the pair objective off"
        )
    return BertForPreTraining


def new_model(
    config: PretrainedConfig, pairs: bool, name: str, trust_remote_code: bool = False
) -> PreTrainedModel:
    """Make a model with new weights, and with the head for pairs of sentences if wanted."""
    model_class = _model_class(config, pairs, name)
    if pairs:
        return model_class(config)
    return model_class.from_config(config, dtype=torch.float32, trust_remote_code=trust_remote_code)
