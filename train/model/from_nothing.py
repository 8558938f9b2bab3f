"""Models that begin from nothing: presets, and folders with a configuration and no weights."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoConfig, PretrainedConfig

from train.model.presets import PRESETS, is_folder, preset_config
from train.model.shards_vocabulary import Vocabulary
from train.model.vocabulary_check import check_own_tokenizer, has_room, readable_errors

_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".ckpt", ".gguf", ".index"}
_INDEX = ".index.json"
_ENDS = {"bos": "first_id", "cls": "first_id", "sep": "last_id", "eos": "last_id"}


def has_config_alone(name: str) -> bool:
    """Whether a folder has a `config.json` and no file, or index of files, that holds weights."""
    folder = Path(name)
    if not is_folder(folder) or not (folder / "config.json").is_file():
        return False
    return not any(
        file.suffix in _WEIGHTS or file.name.endswith(_INDEX) for file in folder.iterdir()
    )


def begins_from_nothing(name: str) -> bool:
    """Whether a model of this name has no weights."""
    return name in PRESETS or has_config_alone(name)


def new_config(
    name: str, vocabulary: Vocabulary, trust_remote_code: bool = False
) -> tuple[PretrainedConfig, str | None]:
    """The configuration of a model that `begins_from_nothing`, and a line about it for people.

    Raises:
        WholewordError: it cannot be read, or a tokenizer beside it is not the shards'.
    """
    if name in PRESETS:
        return preset_config(name, vocabulary), None
    with readable_errors(name):
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    has_tokenizer = check_own_tokenizer(name, vocabulary, trust_remote_code)
    line = f"{name} has a config.json and no weights: it begins from nothing"
    before = fit_config(config, vocabulary, has_tokenizer)
    if before is not None:
        line += f", with the {vocabulary.size:,} vocabulary entries of the shards, not {before:,}"
    return config, line


def fit_config(config: PretrainedConfig, vocabulary: Vocabulary, has_tokenizer: bool) -> int | None:
    """Give a configuration for new weights a vocabulary's size and special ids, in place.

    A size that has room for the vocabulary stays: where the configuration's own tokenizer says
    so, any that is large enough, else one that is rounded up for speed.

    Returns:
        The size before, if it was changed.
    """
    config.pad_token_id = vocabulary.pad_id
    for role, field in _ENDS.items():
        if getattr(config, f"{role}_token_id", None) is not None:
            setattr(config, f"{role}_token_id", getattr(vocabulary, field))
    before: int = config.vocab_size
    if has_room(before, vocabulary.size) or (has_tokenizer and before >= vocabulary.size):
        return None
    config.vocab_size = vocabulary.size
    return before
