"""Configurations: model sizes that can be trained from nothing, and overrides."""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from transformers import BertConfig, ModernBertConfig, PretrainedConfig

from preprocess.errors import WholewordError
from train.model.shards_vocabulary import Vocabulary


class Shape(NamedTuple):
    """The sizes of a preset; what else it has follows from the family that its name begins with."""

    layers: int
    hidden: int
    heads: int
    intermediate: int


# BERT's sizes and names are those of https://github.com/google-research/bert (Turc et al., 2019).
# ModernBERT's base and large are the published ones (Warner et al., 2024); small is the shape that
# Ettin gives its encoder of 68 million parameters (Weller et al., 2025); tiny is ours, for CPUs.
PRESETS: dict[str, Shape] = {
    "bert-tiny": Shape(2, 128, 2, 512),
    "bert-mini": Shape(4, 256, 4, 1024),
    "bert-small": Shape(4, 512, 8, 2048),
    "bert-base": Shape(12, 768, 12, 3072),
    "bert-large": Shape(24, 1024, 16, 4096),
    "modernbert-tiny": Shape(4, 128, 2, 192),
    "modernbert-small": Shape(19, 512, 8, 768),
    "modernbert-base": Shape(22, 768, 12, 1152),
    "modernbert-large": Shape(28, 1024, 16, 2624),
}
_LEAST_POSITIONS = 512
# Of answerdotai/ModernBERT-base and -large. No layer has a bias, except the decoder.
_MODERNBERT: dict[str, Any] = {
    "local_attention": 128,
    "global_attn_every_n_layers": 3,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 160_000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    },
    "attention_bias": False,
    "mlp_bias": False,
    "norm_bias": False,
    "classifier_bias": False,
    "decoder_bias": True,
    "classifier_pooling": "mean",
}

_NOT_OVERRIDDEN = {
    "model_type": "a configuration's architecture cannot be changed; give --model a folder or a "
    "hub id of that architecture",
    "vocab_size": "the vocabulary is the shards'; build shards with another --tokenizer",
}


def check_name(name: str) -> None:
    """Refuse what is almost a preset's name, and the folder of a run, whose model is in final/.

    Raises:
        WholewordError: the name is one of these.
    """
    check_no_run(name)
    # 0.92 is a slip or two; the hub's albert-base has 0.9
    near = difflib.get_close_matches(name.lower().replace("_", "-"), PRESETS, 1, cutoff=0.92)
    if near and name not in PRESETS and not Path(name).exists():
        raise WholewordError(
            f"--model {name}: neither a preset nor a folder that is here; write {near[0]}"
        )


def check_no_run(name: str) -> None:
    """Refuse the folder of a run, whose model is in final/.

    Raises:
        WholewordError: it is one.
    """
    folder = Path(name)
    final = folder / "final"
    if is_folder(final) and not (folder / "config.json").exists():
        raise WholewordError(f"{name}: is the folder of a run; its model is {final}")
    if is_folder(folder / "checkpoints") and not (folder / "config.json").exists():
        raise WholewordError(
            f"{name}: is the folder of a run that has not finished; run its command again, then "
            f"its model is {final}"
        )


def is_folder(path: Path) -> bool:
    """Tell whether a folder is there; what is too long for a name is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def preset_config(name: str, vocabulary: Vocabulary) -> PretrainedConfig:
    """The configuration of a preset, a key of `PRESETS`, for a vocabulary.

    Positions are BERT's 512, or those of the longest row where it is longer.
    """
    shape = PRESETS[name]
    sizes: dict[str, Any] = {
        "vocab_size": vocabulary.size,
        "pad_token_id": vocabulary.pad_id,
        "max_position_embeddings": max(_LEAST_POSITIONS, vocabulary.max_length),
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.intermediate,
    }
    return _modernbert(sizes, vocabulary) if name.startswith("modernbert") else BertConfig(**sizes)


def _modernbert(sizes: dict[str, Any], vocabulary: Vocabulary) -> ModernBertConfig:
    """A ModernBERT; as of the published ones, bos is cls and eos is sep."""
    first, last = vocabulary.first_id, vocabulary.last_id
    ends: dict[str, Any] = {"cls_token_id": first, "bos_token_id": first, "sep_token_id": last}
    return ModernBertConfig(**sizes, **copy.deepcopy(_MODERNBERT), **ends, eos_token_id=last)


def apply_overrides(config: PretrainedConfig, overrides: Mapping[str, object], name: str) -> None:
    """Replace values of a configuration in place.

    Which layers have a sliding window follows their number, and how often one has none.

    Raises:
        WholewordError: the configuration has no such key, or a value of another type.
    """
    for key, value in overrides.items():
        if key in _NOT_OVERRIDDEN:
            raise WholewordError(f"--config-overrides {key}={value}: {_NOT_OVERRIDDEN[key]}")
        old = getattr(config, key, None)
        if not hasattr(config, key) or key.startswith("_") or callable(old):
            raise WholewordError(
                f"{name}: its configuration has no value {key!r}; see the config.json of "
                f"{config.model_type} models for the names"
            )
        if isinstance(old, dict | list | tuple):
            raise WholewordError(
                f"--config-overrides {key}={value}: its value now is {old}, which takes more than "
                "one value; give --model a folder with a config.json of its own"
            )
        new = _convert(value, old, key, name)
        if type(old) is int and type(new) is int and new <= 0 < old:
            raise WholewordError(
                f"--config-overrides {key}={value}: must be above 0; its value now is {old}"
            )
        try:
            setattr(config, key, new)
        except Exception as error:  # transformers validates some fields, with errors of its own
            raise WholewordError(
                f"--config-overrides {key}={value}: {config.model_type} models cannot have that; "
                f"its value now is {old}"
            ) from error
    if overrides.keys() & _DECIDE_LAYERS and getattr(config, "layer_types", None):
        _choose_windows(config)


_DECIDE_LAYERS = {"num_hidden_layers", "global_attn_every_n_layers"}


def _choose_windows(config: PretrainedConfig) -> None:
    """Give each layer its kind of attention, as ModernBERT's configuration does when it is made."""
    every = getattr(config, "global_attn_every_n_layers", None)
    config.layer_types = (
        ["sliding_attention" if i % every else "full_attention"
         for i in range(config.num_hidden_layers)]
        if every
        else config.layer_types[: config.num_hidden_layers]
    )  # fmt: skip


def _convert(value: object, old: object, key: str, name: str) -> object:
    """Read a string as the type of the value that it replaces."""
    if not isinstance(value, str) or isinstance(old, str):
        return value
    if old is None:
        return _read_value(value)
    try:
        if isinstance(old, bool):
            return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
        return type(old)(value) if isinstance(old, int | float) else value
    except (KeyError, ValueError) as error:
        raise WholewordError(
            f"{name}: {key}={value} is not of type {type(old).__name__}; its value now is {old}"
        ) from error


def _read_value(text: str) -> object:
    """Read a value whose type nothing says: a number or a truth value where it looks like one."""
    try:
        return json.loads(text.lower())
    except ValueError:
        return text
