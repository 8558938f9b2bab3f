"""Which Unigram tokenizers `unigram` holds, and what their parts say."""

import json
from dataclasses import dataclass
from typing import Any

from preprocess.encode.compiled.byte_level_rules import parts
from preprocess.encode.compiled.byte_trie import SHAPE_LIMIT
from preprocess.encode.compiled.pre_token_cache import ID_BITS
from preprocess.encode.compiled.unigram import MIXED, SPACES

_MARK = "\u2581"
_BY_CHARACTER = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Precompiled"}
"""Normalizers that `character_map` holds."""
_RUNS = {" {2,}": SPACES, r"\s{2,}|[\n\r\t]": MIXED}


@dataclass(frozen=True)
class UnigramRules:
    """What stands around the model."""

    by_character: tuple[dict[str, Any], ...]
    """Normalizers that work character by character."""
    collapses: int
    """0, SPACES or MIXED."""
    strips_left: bool
    strips_right: bool
    splits_white: bool
    prepends: bool
    splits: bool

    @property
    def by_grapheme(self) -> bool:
        """Whether a normalizer looks at graphemes of several characters."""
        return any(part["type"] == "Precompiled" for part in self.by_character)


def unsupported_reason(tokenizer_json: str) -> str | None:
    """Why a tokenizer with a Unigram model cannot be compiled; None if it can."""
    description = json.loads(tokenizer_json)
    rules = parse_rules(description)
    if isinstance(rules, str):
        return rules
    model = description["model"]
    if model["unk_id"] is None:
        return "its model has no unknown piece"
    vocabulary = model["vocab"]
    if model.get("byte_fallback") and not byte_pieces(vocabulary):
        return "its vocabulary lacks pieces for some bytes (byte_fallback)"
    if (
        len(vocabulary) >= 1 << ID_BITS
        or max(len(p.encode()) for p, _ in vocabulary) >= SHAPE_LIMIT
    ):
        return "its vocabulary is out of range"
    if not all(token["special"] for token in description["added_tokens"]):
        return "it has added tokens that are not special"
    for part in parts(description["post_processor"], "processors"):
        if part["type"] not in ("TemplateProcessing", "BertProcessing"):
            return f"its post-processor is {part['type']}"
    return None


def byte_pieces(vocabulary: list[tuple[str, float]]) -> list[int]:
    """The piece of each byte, empty if not all bytes have one."""
    ids = {piece: number for number, (piece, _) in enumerate(vocabulary)}
    found = [ids.get(f"<0x{byte:02X}>", -1) for byte in range(256)]
    return [] if -1 in found else found


def parse_rules(description: dict[str, Any]) -> UnigramRules | str:
    """What normalizer and pre-tokenizer do, or why that is not held."""
    normalized = _parse_normalizers(parts(description["normalizer"], "normalizers"))
    if isinstance(normalized, str):
        return normalized
    by_character, collapses, strips = normalized
    found = parts(description["pre_tokenizer"], "pretokenizers")
    names = [part["type"] for part in found]
    if names not in (["Metaspace"], ["WhitespaceSplit", "Metaspace"]):
        return f"its pre-tokenizer is {' and '.join(names) or 'none'}, not Metaspace"
    metaspace, splits_white = found[-1], len(found) == 2
    if metaspace["replacement"] != _MARK:
        return f"its pre-tokenizer replaces spaces by {metaspace['replacement']!r}"
    scheme, splits = metaspace["prepend_scheme"], metaspace["split"]
    if splits_white and not (scheme == "always" and splits):
        return "its pre-tokenizer does not begin every word with its mark"
    return UnigramRules(
        tuple(by_character), collapses, *strips, splits_white, scheme != "never", splits
    )


def _parse_normalizers(
    found: list[dict[str, Any]],
) -> tuple[list[dict[str, Any]], int, tuple[bool, bool]] | str:
    """Those that work character by character, the run that is collapsed, the sides stripped."""
    by_character: list[dict[str, Any]] = []
    collapses, strips = 0, (False, False)
    for part in found:
        name = part["type"]
        if name in _BY_CHARACTER and not any(strips):
            # A run of white space is one before NFC and after it.
            if collapses and name != "NFC":
                return f"its normalizer has {name} after Replace"
            by_character.append(part)
        elif name == "Replace" and not collapses and not any(strips):
            pattern = part["pattern"].get("Regex", "")
            if pattern not in _RUNS or part["content"] != " ":
                return f"its normalizer replaces {part['pattern']}"
            collapses = _RUNS[pattern]
        elif name == "Strip" and not any(strips):
            strips = (part["strip_left"], part["strip_right"])
        else:
            return f"its normalizer has {name}"
    return by_character, collapses, strips
