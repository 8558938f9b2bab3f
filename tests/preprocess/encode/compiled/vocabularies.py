"""Tokenizers around real vocabularies from the package index."""

import base64
import functools
import json

from tests import corpora
from tests.preprocess.encode.compiled import byte_level as zoo
from tests.preprocess.encode.compiled import character_bpe, unigram
from tests.preprocess.encode.compiled.descriptions import Description, changed


@functools.cache
def tokenizer_json(name: str) -> str:
    """A tokenizer by the name of a vocabulary and of a variant, `gpt2, roberta` for one."""
    vocabulary, _, variant = name.partition(", ")
    if vocabulary == "unigram":
        return unigram.variant(variant)
    if vocabulary == "characters":
        return character_bpe.variant(variant)
    entries, merges = {"gpt2": _gpt2, "qwen": _qwen}[vocabulary]()

    def change(description: Description) -> None:
        description["model"] |= {"vocab": entries, "merges": merges}
        for number, token in enumerate(description["added_tokens"]):
            token["id"] = len(entries) + number
        zoo.VARIANTS[variant](description)

    return changed(zoo.trained(), change)


def _gpt2() -> tuple[dict[str, int], list[list[str]]]:
    entries = json.loads(corpora.path("gpt2_vocabulary.json").read_text(encoding="utf-8"))
    lines = corpora.path("gpt2_merges.txt").read_text(encoding="utf-8").split("\n")
    return entries, [line.split(" ") for line in lines[1:] if line]


def _qwen() -> tuple[dict[str, int], list[list[str]]]:
    """Its file holds ranks of byte strings; the merge that made each is found again."""
    ranks = {}
    for line in corpora.path("qwen.tiktoken").read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    spelling = {token: _spelt(token) for token in ranks}
    merges = [_parts(token, ranks) for token in sorted(ranks, key=ranks.__getitem__)]
    pairs = [[spelling[part] for part in parts] for parts in merges if len(parts) == 2]
    return {spelling[token]: rank for token, rank in ranks.items()}, pairs


def _spelt(token: bytes) -> str:
    """A byte string in the characters of byte-level BPE (GPT-2's `bytes_to_unicode`)."""
    return "".join(_ALPHABET[byte] for byte in token)


def _parts(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """What is left of a token's bytes when all merges of lower rank are made."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        rank, place = min(
            (ranks.get(parts[i] + parts[i + 1], len(ranks)), i) for i in range(len(parts) - 1)
        )
        if rank >= ranks[token]:
            break
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


_PRINTABLE = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_ALPHABET = {b: chr(b) if b in _PRINTABLE else chr(256 + _OTHERS.index(b)) for b in range(256)}
