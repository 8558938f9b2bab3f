"""Which Unigram tokenizers `unigram` holds, and what their parts say."""

from dataclasses import dataclass, field
from typing import Any

from preprocess.encode.compiled.byte_level_rules import parts
from preprocess.encode.compiled.byte_trie import SHAPE_LIMIT
from preprocess.encode.compiled.pre_token_cache import ID_BITS
from preprocess.encode.compiled.unigram import MIXED, SPACES
from preprocess.encode.tokenizer import describe_tokenizer

_MARK = "\u2581"
_BY_CHARACTER = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Precompiled"}
"""Normalizers that `character_map` holds."""
_COMPOSING = {"NFC", "NFD", "NFKC", "NFKD", "StripAccents", "Precompiled"}
_QUOTES = ("``", "''")
_RUNS = {" {2,}": SPACES, r"\s{2,}|[\n\r\t]": MIXED}


@dataclass(frozen=True)
class UnigramRules:
    """What stands around the model."""

    by_character: tuple[dict[str, Any], ...]
    """Normalizers that work character by character."""
    pairs_quotes: bool
    """Two of ` or of ' become one of " first."""
    collapses: int
    """0, SPACES or MIXED."""
    strips_left: bool
    strips_right: bool
    strips_first: bool
    """Before what works character by character."""
    splits_white: bool
    prepends: bool
    splits: bool

    @property
    def composes(self) -> bool:
        """Whether characters are composed, decomposed or ordered."""
        return any(part["type"] in _COMPOSING for part in self.by_character)

    @property
    def by_grapheme(self) -> bool:
        """Whether a normalizer looks at graphemes of several characters."""
        return any(part["type"] == "Precompiled" for part in self.by_character)


def unsupported_reason(tokenizer_json: str) -> str | None:
    """Why a tokenizer with a Unigram model cannot be compiled; None if it can."""
    description = describe_tokenizer(tokenizer_json)
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
    normalized = parse_normalizers(parts(description["normalizer"], "normalizers"))
    if isinstance(normalized, str):
        return normalized
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
    if splits_white and normalized.marks_runs:
        return "its normalizer puts marks where its pre-tokenizer wants spaces"
    return UnigramRules(
        tuple(normalized.by_character),
        normalized.pairs_quotes,
        normalized.collapses,
        *normalized.strips,
        normalized.strips_first,
        splits_white,
        scheme != "never",
        splits,
    )


@dataclass
class Normalizers:
    """What a list of normalizers does, in the order of the fields."""

    quotes: list[str] = field(default_factory=list)
    strips_first: bool = False
    """Whether it strips here, not at the end."""
    by_character: list[dict[str, Any]] = field(default_factory=list)
    collapses: int = 0
    """0, SPACES or MIXED."""
    marks_runs: bool = False
    """Runs become the mark, not a space."""
    strips: tuple[bool, bool] = (False, False)
    """Left and right."""

    @property
    def pairs_quotes(self) -> bool:
        """Whether two of ` or of ' become one of "."""
        return bool(self.quotes)


def parse_normalizers(found: list[dict[str, Any]]) -> Normalizers | str:
    """What normalizers do, or why that is not held."""
    rules = Normalizers()
    for part in found:
        reason = _add_normalizer(rules, part)
        if reason:
            return reason
    if rules.quotes and sorted(rules.quotes) != sorted(_QUOTES):
        return f"its normalizer replaces {rules.quotes[0]!r}"
    return rules


def _add_normalizer(rules: Normalizers, part: dict[str, Any]) -> str | None:
    name = part["type"]
    if name == "Strip" and not any(rules.strips):
        rules.strips = (part["strip_left"], part["strip_right"])
        return None
    if name == "Replace":
        return _add_replacement(rules, part)
    if name not in _BY_CHARACTER:
        return f"its normalizer has {name}"
    if rules.collapses and name != "NFC":
        # A run of white space is one before NFC and after it.
        return f"its normalizer has {name} after Replace"
    if any(rules.strips) and not (rules.collapses or rules.strips_first):
        if any(before["type"] != "Lowercase" for before in rules.by_character):
            return f"its normalizer has {name} after Strip"
        rules.strips_first = True
    rules.by_character.append(part)
    return None


def _add_replacement(rules: Normalizers, part: dict[str, Any]) -> str | None:
    literal, pattern = part["pattern"].get("String", ""), part["pattern"].get("Regex", "")
    first = not (rules.by_character or rules.collapses or any(rules.strips))
    if literal in _QUOTES and part["content"] == '"' and first:
        rules.quotes.append(literal)
        return None
    contents = (" ", _MARK) if pattern == " {2,}" else (" ",)
    if pattern not in _RUNS or part["content"] not in contents or rules.collapses:
        return f"its normalizer replaces {part['pattern']}"
    rules.collapses, rules.marks_runs = _RUNS[pattern], part["content"] == _MARK
    return None
