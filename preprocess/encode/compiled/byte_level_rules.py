"""Which byte-level BPE tokenizers `byte_level` holds, and what their parts say."""

from itertools import chain
from typing import Any

import tokenizers

from preprocess.encode.compiled.added_tokens import added_reason, ordinary_tokens
from preprocess.encode.compiled.byte_trie import SHAPE_LIMIT
from preprocess.encode.compiled.pre_token_cache import ID_BITS
from preprocess.encode.compiled.pretokens import GPT2, parse_levels
from preprocess.encode.tokenizer import describe_tokenizer


def unsupported_reason(tokenizer_json: str) -> str | None:
    """Why a tokenizer with a BPE model cannot be compiled; None if it can."""
    description = describe_tokenizer(tokenizer_json)
    levels = parse_pre_tokenizers(description)
    if isinstance(levels, str):
        return levels
    return (
        _normalizer_reason(description)
        or _model_reason(description["model"])
        or _added_reason(description)
        or _trim_reason(description)
    )


def parts(part: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """What a normalizer, pre-tokenizer or post-processor consists of."""
    if part is None:
        return []
    if part["type"] == "Sequence":
        return list(chain.from_iterable(parts(inner, name) for inner in part[name]))
    return [part]


def parse_pre_tokenizers(description: dict[str, Any]) -> list[tuple[int, int]] | str:
    """Kind and limit of each pre-tokenizer, or why there is one that is not known here."""
    found = parts(description["pre_tokenizer"], "pretokenizers")
    if not found or found[-1]["type"] != "ByteLevel":
        return f"its pre-tokenizer is {found[-1]['type'] if found else 'none'}, not ByteLevel"
    *before, byte_level = found
    levels = parse_levels(before)
    if isinstance(levels, str):
        return levels
    if byte_level["add_prefix_space"] and levels:
        return "its pre-tokenizer adds a space to every piece of another one (add_prefix_space)"
    return [*levels, *([(GPT2, 0)] if byte_level.get("use_regex", True) else [])]


def _normalizer_reason(description: dict[str, Any]) -> str | None:
    others = {part["type"] for part in parts(description["normalizer"], "normalizers")} - {"NFC"}
    return f"its normalizer is {', '.join(sorted(others))}, not NFC" if others else None


def _model_reason(model: dict[str, Any]) -> str | None:
    if model.get("dropout"):
        return "its merges are left out at random (dropout)"
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            return f"its model has a {name} ({model[name]!r})"
    missing = sum(symbol not in model["vocab"] for symbol in byte_symbols().values())
    if missing and (model.get("byte_fallback") or model.get("unk_token") not in model["vocab"]):
        return f"its vocabulary lacks {missing} of the 256 bytes"
    longest = max(map(len, model["vocab"]))
    if longest >= SHAPE_LIMIT or max(model["vocab"].values()) >= (1 << ID_BITS) - 1:
        return "its vocabulary is out of range"
    return None


def _added_reason(description: dict[str, Any]) -> str | None:
    for token in ordinary_tokens(description):
        if normalizes(description) and token["normalized"] and _composed(token) != token["content"]:
            return f"its added token {token['content']!r} is not in NFC"
    return added_reason(description)


def normalizes(description: dict[str, Any]) -> bool:
    """Whether text is brought into NFC first."""
    return bool(parts(description["normalizer"], "normalizers"))


def _composed(token: dict[str, Any]) -> str:
    return str(tokenizers.normalizers.NFC().normalize_str(token["content"]))


def parse_trims(description: dict[str, Any]) -> list[bool] | str:
    """Of each post-processor that trims offsets, whether it keeps a text's first space."""
    trims = []
    for part in parts(description["post_processor"], "processors"):
        if part["type"] in ("ByteLevel", "RobertaProcessing"):
            if part["trim_offsets"]:
                trims.append(bool(part["add_prefix_space"]))
        elif part["type"] not in ("TemplateProcessing", "BertProcessing"):
            return f"its post-processor is {part['type']}"
    return trims if len(trims) < 2 else "its post-processors trim offsets more than once"


def _trim_reason(description: dict[str, Any]) -> str | None:
    trims = parse_trims(description)
    return trims if isinstance(trims, str) else None


def byte_symbols() -> dict[int, str]:
    """The character that stands for each byte that UTF-8 text may hold, by the library."""
    ask = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    points = [*range(0x80), *range(0x80, 0x800, 0x3F), *range(0x800, 0xD800, 0x3FF)]
    points += [
        *range(0xE000, 0x110000, 0x3FF),
        *range(0x80, 0x100),
        *range(0x40000, 0x110000, 0xFFF),
    ]
    text = "".join(map(chr, points))
    ((answer, _),) = ask.pre_tokenize_str(text)
    return dict(zip(text.encode(), answer, strict=True))
