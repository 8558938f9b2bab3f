"""Which BPE tokenizers over characters `character_bpe` holds."""

from typing import Any

from preprocess.encode.compiled.added_tokens import added_reason, ordinary_tokens
from preprocess.encode.compiled.byte_level_rules import parts
from preprocess.encode.compiled.byte_trie import SHAPE_LIMIT
from preprocess.encode.compiled.pre_token_cache import ID_BITS
from preprocess.encode.tokenizer import describe_tokenizer

COMPOSING = {"NFC", "NFD", "NFKC", "NFKD", "StripAccents"}
_BY_CHARACTER = COMPOSING | {"Lowercase"}


def is_over_characters(description: dict[str, Any]) -> bool:
    """Whether a BPE tokenizer spells characters without a piece in bytes, and those alone."""
    levels = parts(description["pre_tokenizer"], "pretokenizers")
    return bool(description["model"].get("byte_fallback")) and not any(
        part["type"] == "ByteLevel" for part in levels
    )


def unsupported_reason(tokenizer_json: str) -> str | None:
    """Why such a tokenizer cannot be compiled; None if it can."""
    description = describe_tokenizer(tokenizer_json)
    return (
        _model_reason(description["model"])
        or _normalizer_reason(description)
        or _pre_tokenizer_reason(description)
        or _added_reason(description)
        or _post_processor_reason(description)
    )


def byte_pieces(vocabulary: dict[str, int]) -> list[int]:
    """The piece of each byte, -1 for those without one."""
    return [vocabulary.get(f"<0x{byte:02X}>", -1) for byte in range(256)]


def _model_reason(model: dict[str, Any]) -> str | None:
    if model.get("dropout"):
        return "its merges are left out at random (dropout)"
    for name in ("continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"):
        if model.get(name):
            return f"its model has {name}"
    vocabulary = model["vocab"]
    found = byte_pieces(vocabulary)
    if -1 in found:
        return f"its vocabulary lacks pieces for {found.count(-1)} of the 256 bytes"
    bytes_of = {f"<0x{byte:02X}>" for byte in range(256)}
    merges = (m.split(" ") if isinstance(m, str) else m for m in model["merges"])
    if any(a in bytes_of or b in bytes_of or a + b in bytes_of for a, b in merges):
        return "it merges pieces of bytes"
    longest = max(len(piece.encode()) for piece in vocabulary)
    if longest >= SHAPE_LIMIT or max(vocabulary.values()) >= (1 << ID_BITS) - 1:
        return "its vocabulary is out of range"
    return None


def normalizer_parts(description: dict[str, Any]) -> list[dict[str, Any]]:
    """What its normalizer consists of."""
    return parts(description["normalizer"], "normalizers")


def _normalizer_reason(description: dict[str, Any]) -> str | None:
    for part in normalizer_parts(description):
        if part["type"] == "Replace":
            if len(part["pattern"].get("String", "")) != 1:
                return f"its normalizer replaces {part['pattern']}"
        elif part["type"] not in _BY_CHARACTER:
            return f"its normalizer has {part['type']}"
    return None


def _pre_tokenizer_reason(description: dict[str, Any]) -> str | None:
    """A pre-tokenizer that splits at spaces, where the normalizer leaves none, does nothing."""
    found = parts(description["pre_tokenizer"], "pretokenizers")
    if not found:
        return None
    space = {"String": " "}
    last = normalizer_parts(description)[-1:]
    leaves_none = any(
        part["type"] == "Replace" and part["pattern"] == space and " " not in part["content"]
        for part in last
    )
    if leaves_none and all(
        part["type"] == "Split" and part["pattern"] == space and not part["invert"]
        for part in found
    ):
        return None
    return f"its pre-tokenizer is {' and '.join(part['type'] for part in found)}"


def _added_reason(description: dict[str, Any]) -> str | None:
    for token in ordinary_tokens(description):
        if normalizer_parts(description) and token["normalized"]:
            return f"its added token {token['content']!r} is normalized"
    return added_reason(description)


def _post_processor_reason(description: dict[str, Any]) -> str | None:
    for part in parts(description["post_processor"], "processors"):
        if part["type"] not in ("TemplateProcessing", "BertProcessing"):
            return f"its post-processor is {part['type']}"
    return None
