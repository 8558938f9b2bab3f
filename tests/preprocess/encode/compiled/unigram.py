"""Unigram tokenizers with every option, around one vocabulary trained on the samples."""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.preprocess.encode.compiled.descriptions import Description, changed
from tests.preprocess.tokenizers_zoo import save_unigram


@functools.cache
def trained() -> str:
    """4,000 pieces: NFKC, Metaspace, XLM-R's special tokens."""
    with tempfile.TemporaryDirectory() as folder:
        return (save_unigram(Path(folder)) / "tokenizer.json").read_text(encoding="utf-8")


def metaspace(scheme: str = "always", split: bool = True) -> Description:
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


def words(*parts: Description) -> Description:
    return {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, *parts]}


def normalizers(*parts: Description | str) -> Description:
    each = [{"type": part} if isinstance(part, str) else part for part in parts]
    return {"type": "Sequence", "normalizers": each}


def replace(pattern: str, content: str = " ") -> Description:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def strip(left: bool, right: bool) -> Description:
    return {"type": "Strip", "strip_left": left, "strip_right": right}


def byte_fallback(description: Description) -> None:
    pieces = [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
    description["model"]["vocab"] += pieces
    description["model"]["byte_fallback"] = True


def equal_scores(description: Description) -> None:
    """Many paths of one score: what was found first stays."""
    for piece in description["model"]["vocab"]:
        piece[1] = -float(len(piece[0]))


def literal(pattern: str, content: str) -> Description:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


QUOTES = [literal("``", '"'), literal("''", '"')]
RUNS = replace(r"\s{2,}|[\n\r\t]")
VARIANTS: dict[str, Callable[[Description], Any]] = {
    "nfkc": lambda d: None,
    "no normalizer": lambda d: d.update(normalizer=None),
    "words": lambda d: d.update(pre_tokenizer=words(metaspace())),
    "first": lambda d: d.update(pre_tokenizer=metaspace("first")),
    "never": lambda d: d.update(pre_tokenizer=metaspace("never")),
    "whole": lambda d: d.update(pre_tokenizer=metaspace(split=False)),
    "albert": lambda d: d.update(
        normalizer=normalizers("NFKD", "StripAccents", "Lowercase"),
        pre_tokenizer=words(metaspace()),
    ),
    "deberta": lambda d: d.update(
        normalizer=normalizers("Lowercase", RUNS, "NFC", strip(False, True))
    ),
    "spaces": lambda d: d.update(
        normalizer=normalizers("NFKC", replace(" {2,}"), strip(True, True))
    ),
    "albert, converted": lambda d: d.update(
        normalizer=normalizers(*QUOTES, "NFKD", "StripAccents", "Lowercase", replace(" {2,}")),
        pre_tokenizer=words(metaspace()),
    ),
    "deberta, converted": lambda d: d.update(
        normalizer=normalizers("Lowercase", strip(True, True), "NFKC", replace(" {2,}"))
    ),
    "xlm-r, converted": lambda d: d.update(
        normalizer=normalizers("NFKC", strip(False, True), replace(" {2,}", "▁"))
    ),
    "byte fallback": byte_fallback,
    "equal scores": equal_scores,
}


@functools.cache
def variant(name: str) -> str:
    """The trained tokenizer with a variant's parts."""
    return changed(trained(), VARIANTS[name])
