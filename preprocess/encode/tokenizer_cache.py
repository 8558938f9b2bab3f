"""Loaded tokenizers on disk: importing transformers takes seconds, and is needed only once."""

import contextlib
import importlib.metadata
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import xxhash

from preprocess.cache import cache_folder
from preprocess.encode.tokenizer import LoadedTokenizer, SpecialTokens, load_tokenizer
from preprocess.files import write_bytes

_SUFFIXES = {".json", ".txt", ".model", ".jinja", ".vocab"}
_FORMAT = 1


def load_tokenizer_once(name_or_path: str) -> LoadedTokenizer:
    """`load_tokenizer`, cached for folders by the content of their files.

    What a hub id stands for can change, so a hub id is always loaded.

    Raises:
        WholewordError: as `load_tokenizer`.
    """
    folder = Path(name_or_path)
    if not os.path.isdir(name_or_path):  # noqa: PTH112 (pathlib's raises where a name is too long)
        return load_tokenizer(name_or_path)
    path = cache_folder("tokenizers") / f"{_key(folder)}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return _parse(path.read_bytes(), name_or_path)
    return _store(path, load_tokenizer(name_or_path))


def _key(folder: Path) -> str:
    digest = xxhash.xxh3_128()
    for package in ("transformers", "tokenizers"):
        digest.update(f"{package} {importlib.metadata.version(package)} {_FORMAT}".encode())
    for file in sorted(folder.iterdir()):
        if file.suffix in _SUFFIXES and file.is_file():
            content = file.read_bytes()
            digest.update(f"{file.name} {len(content)} ".encode() + content)
    return digest.hexdigest()


def _parse(data: bytes, name: str) -> LoadedTokenizer:
    checksum, _, body = data.partition(b"\n")
    if checksum.decode() != xxhash.xxh3_128_hexdigest(body):
        raise ValueError("incomplete or damaged")
    value = json.loads(body)
    special: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in value["special"].items()
    }
    files = {name: text.encode("latin-1") for name, text in value["files"].items()}
    return LoadedTokenizer(
        **value | {"special": SpecialTokens(**special), "files": files, "name": name}
    )


def _store(path: Path, tokenizer: LoadedTokenizer) -> LoadedTokenizer:
    value = asdict(tokenizer)
    value["files"] = {name: data.decode("latin-1") for name, data in tokenizer.files.items()}
    body = json.dumps(value).encode()
    # A full disk costs only the time to load again.
    with contextlib.suppress(OSError):
        data = xxhash.xxh3_128_hexdigest(body).encode() + b"\n" + body
        write_bytes(path, data, shared=True)
    return tokenizer
