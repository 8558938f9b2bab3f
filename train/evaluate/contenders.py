"""Who is compared: models in folders or on the hub, or weights that are drawn anew."""

from dataclasses import dataclass
from pathlib import Path

import torch
import xxhash
from transformers import AutoConfig, AutoModel, PretrainedConfig

from preprocess.console import warn
from preprocess.encode.tokenizer import LoadedTokenizer, load_tokenizer
from preprocess.errors import WholewordError
from train.evaluate import floor
from train.model.from_nothing import fit_config, has_config_alone
from train.model.presets import PRESETS, check_name, is_folder, preset_config
from train.model.shards_vocabulary import tokenizer_vocabulary
from train.model.vocabulary_check import check_folder, position_offset, readable_errors

RANDOM = "random:"
_HASHED = ("*.json", "*.safetensors", "*.bin", "*.txt", "*.model")


@dataclass(frozen=True)
class Contender:
    """One line of the comparison."""

    name: str
    paths: tuple[str, ...]
    """Models of several pretraining seeds, or one."""


@dataclass(frozen=True)
class ModelSource:
    """Where a model's weights and tokenizer come from."""

    path: str
    """A folder, a hub id, or a preset."""
    is_random: bool
    """Whether weights are drawn from the seed instead of read."""
    tokenizer: str
    """A folder or hub id."""
    trust_remote_code: bool = False


def parse_contenders(models: tuple[str, ...]) -> tuple[Contender, ...]:
    """Read `PATH` and `NAME=PATH[,PATH...]`.

    Raises:
        WholewordError: none is given, a name or a contender's path stands twice, a name is the
            floor's, or a path is empty.
    """
    contenders = [_parse(text) for text in models]
    names = [contender.name for contender in contenders]
    if not names:
        raise WholewordError("--models: names no model; give folders, hub ids or random:bert-tiny")
    for name in names:
        if names.count(name) > 1:
            raise WholewordError(
                f"--models: {name} stands twice; name contenders apart, as NAME=PATH (several "
                "pretraining seeds of one are NAME=PATH,PATH)"
            )
        if name in floor.NAMES:
            raise WholewordError(f"--models: {name} is the floor's name; choose another NAME=PATH")
    for contender in contenders:
        for path in contender.paths:
            if contender.paths.count(path) > 1:
                raise WholewordError(
                    f"--models: {path} stands twice in {contender.name}; name each pretraining "
                    "seed's model once"
                )
    return tuple(contenders)


def _parse(text: str) -> Contender:
    name, equals, rest = text.partition("=")
    if not equals or is_folder(Path(text)):
        if "," in text and not is_folder(Path(text)):
            raise WholewordError(f"--models {text}: several models need a name: NAME={text}")
        name, rest = text, ""
    paths = tuple(path.strip() for path in rest.split(",")) if rest else (name,)
    if not name.strip() or not all(paths) or (equals and not rest and not is_folder(Path(text))):
        raise WholewordError(f"--models {text}: write PATH or NAME=PATH[,PATH...]")
    return Contender(name, paths)


def find_sources(
    contenders: tuple[Contender, ...], tokenizer: str | None, trust_remote_code: bool
) -> dict[str, ModelSource]:
    """The source of every path.

    Raises:
        WholewordError: a folder is missing or is a run's, or a preset has no tokenizer.
    """
    if tokenizer is not None:
        check_folder(tokenizer, "give --tokenizer a folder with tokenizer.json, or a hub id")
    sources = {}
    paths = [path for contender in contenders for path in contender.paths]
    for path in paths:
        name = path.removeprefix(RANDOM)
        is_random = path != name
        # Drawn anew, a preset's name means the preset, as it does to train/pretrain.py.
        is_preset = name in PRESETS and (is_random or not is_folder(Path(name)))
        if not is_random and (is_preset or has_config_alone(name)):
            raise WholewordError(f"--models {name}: has no weights; write {RANDOM}{name}")
        if is_preset:
            own = tokenizer or _first_tokenizer(paths)
        else:
            check_name(name)
            check_folder(name, "give a model's folder or a hub id")
            own = _own_tokenizer(name, tokenizer)
        sources[path] = ModelSource(name, is_random, own, trust_remote_code)
    if tokenizer not in (None, *(source.tokenizer for source in sources.values())):
        warn(f"--tokenizer {tokenizer}: is not used, for every model brings its own")
    return sources


def _own_tokenizer(name: str, tokenizer: str | None) -> str:
    has_none = is_folder(Path(name)) and not has_tokenizer(name)
    if has_none and tokenizer is None:
        raise WholewordError(f"{name}: has no tokenizer files; name a folder with --tokenizer")
    return tokenizer if has_none and tokenizer is not None else name


def has_tokenizer(name: str) -> bool:
    """Whether a folder has a tokenizer's files."""
    files = ("tokenizer.json", "vocab.txt", "spm.model", "vocab.json", "spiece.model")
    return any((Path(name) / file).exists() for file in files)


def _first_tokenizer(paths: list[str]) -> str:
    names = [path.removeprefix(RANDOM) for path in paths]
    for name in names:
        if name not in PRESETS and (not is_folder(Path(name)) or has_tokenizer(name)):
            return name
    raise WholewordError(
        f"--models {paths[0]}: a preset has no tokenizer, and no other model brings one; name a "
        "folder with --tokenizer"
    )


def fingerprint(source: ModelSource) -> str:
    """What says that a model is the same: xxh3-128 over its files; a hub id stands for itself."""
    digest = xxhash.xxh3_128(b"random" if source.is_random else b"")
    for name in dict.fromkeys((source.path, source.tokenizer)):
        folder = Path(name)
        if not is_folder(folder):
            digest.update(name.encode())
            continue
        files = sorted({file for pattern in _HASHED for file in folder.glob(pattern)})
        for file in files:
            if source.is_random and file.suffix in (".safetensors", ".bin"):
                continue
            digest.update(file.name.encode())
            with file.open("rb") as data:
                while block := data.read(1 << 22):
                    digest.update(block)
    return digest.hexdigest()


def load_source(source: ModelSource, max_length: int) -> tuple[LoadedTokenizer, PretrainedConfig]:
    """The tokenizer, and the configuration; a preset's has positions for `max_length` tokens.

    Raises:
        WholewordError: one of them cannot be read.
    """
    tokenizer = load_tokenizer(source.tokenizer)
    if source.path in PRESETS and source.is_random:
        return tokenizer, preset_config(source.path, tokenizer_vocabulary(tokenizer, max_length))
    with readable_errors(source.path):
        config = AutoConfig.from_pretrained(source.path, trust_remote_code=source.trust_remote_code)
    if source.is_random:
        has_tokenizer = source.path == source.tokenizer
        fit_config(config, tokenizer_vocabulary(tokenizer, max_length), has_tokenizer)
    return tokenizer, config


def check_ids(source: ModelSource, config: PretrainedConfig, highest: int) -> None:
    """Refuse a tokenizer whose ids are beyond a model's vocabulary.

    Args:
        source: of the model.
        config: of the model.
        highest: id that the tokenizer gives to what the model is to read.

    Raises:
        WholewordError: the model has no such id.
    """
    entries = getattr(config, "vocab_size", None)
    if entries is not None and highest >= entries:
        raise WholewordError(
            f"{source.path}: has {entries:,} vocabulary entries, and the tokenizer of "
            f"{source.tokenizer} gives id {highest:,} to the task's texts; name the model's own "
            "with --tokenizer"
        )


def room_for_tokens(config: PretrainedConfig, source: ModelSource | None = None) -> int:
    """The longest input that a model has positions for, special tokens included.

    Raises:
        WholewordError: the configuration of `source` makes no model.
    """
    name, remote = (source.path, source.trust_remote_code) if source else ("", False)
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return 1 << 20
    with readable_errors(name), torch.device("meta"):  # no weights: only where positions begin
        model = AutoModel.from_config(config, trust_remote_code=remote)
    return positions - position_offset(model)
