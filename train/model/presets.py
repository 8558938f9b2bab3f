"""Configurations: model sizes that can be trained from nothing, and overrides."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path

from transformers import BertConfig, PretrainedConfig

from preprocess.errors import WholewordError

# name: (layers, hidden size, attention heads); the feed-forward layer is 4 * hidden size.
# Sizes and names are those of https://github.com/google-research/bert (Turc et al., 2019).
PRESETS: dict[str, tuple[int, int, int]] = {
    "bert-tiny": (2, 128, 2),
    "bert-mini": (4, 256, 4),
    "bert-small": (4, 512, 8),
    "bert-base": (12, 768, 12),
    "bert-large": (24, 1024, 16),
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
    folder = Path(name)
    final = folder / "final"
    if is_folder(final) and not (folder / "config.json").exists():
        raise WholewordError(f"{name}: is the folder of a run; its model is {final}")
    if is_folder(folder / "checkpoints") and not (folder / "config.json").exists():
        raise WholewordError(
            f"{name}: is the folder of a run that has not finished; run its command again, then "
            f"its model is {final}"
        )
    # 0.92 is a slip or two; the hub's albert-base has 0.9
    near = difflib.get_close_matches(name.lower().replace("_", "-"), PRESETS, 1, cutoff=0.92)
    if near and name not in PRESETS and not folder.exists():
        raise WholewordError(
            f"--model {name}: neither a preset nor a folder that is here; write {near[0]}"
        )


def is_folder(path: Path) -> bool:
    """Tell whether a folder is there; what is too long for a name is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def preset_config(name: str, vocab_size: int, pad_id: int, max_length: int) -> BertConfig:
    """The configuration of a preset for the vocabulary of the shards.

    Args:
        name: a key of `PRESETS`.
        vocab_size: entries of the shards' tokenizer.
        pad_id: its padding token.
        max_length: tokens of the longest row, special tokens included; positions are
            BERT's 512, or this where it is more.
    """
    layers, hidden, heads = PRESETS[name]
    return BertConfig(
        vocab_size=vocab_size,
        pad_token_id=pad_id,
        max_position_embeddings=max(512, max_length),
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
    )


def apply_overrides(config: PretrainedConfig, overrides: Mapping[str, object], name: str) -> None:
    """Replace values of a configuration in place.

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
