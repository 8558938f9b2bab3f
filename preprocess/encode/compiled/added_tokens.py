"""Added tokens that are not special: they are found in text before anything else."""

from typing import Any

from preprocess.encode.compiled.byte_trie import PASSED_OVER, SHAPE_LIMIT
from preprocess.encode.compiled.pre_token_cache import ID_BITS
from preprocess.encode.tokenizer import describe_tokenizer, load_backend


def ordinary_tokens(description: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that are not special."""
    return [token for token in description["added_tokens"] if not token["special"]]


def added_reason(description: dict[str, Any]) -> str | None:
    """Why they are not held; None if they are."""
    tokens = ordinary_tokens(description)
    for token in tokens:
        for name in ("single_word", "lstrip", "rstrip"):
            if token[name]:
                return f"its added token {token['content']!r} has {name}"
        if not token["content"] or len(token["content"]) >= SHAPE_LIMIT:
            return f"its added token {token['content']!r} is empty or too long"
        if token["id"] >= (1 << ID_BITS) - 1:
            return "its vocabulary is out of range"
    if len({token["normalized"] for token in tokens}) > 1:
        return "some of its added tokens are normalized and some are not"
    return None


def added_ids(tokenizer_json: str) -> dict[str, int]:
    """The ids of added tokens that are not special, which the library may number anew."""
    backend = load_backend(tokenizer_json)
    tokens = describe_tokenizer(tokenizer_json)["added_tokens"]
    found = {t["content"]: backend.token_to_id(t["content"]) for t in tokens if not t["special"]}
    return {content: number for content, number in found.items() if number is not None}


def added_entries(description: dict[str, Any], added: dict[str, int]) -> dict[bytes, int]:
    """Tokens that are found in text; and the unknown token, which is found and passed over."""
    tokens = description["added_tokens"]
    entries = {content.encode(): number for content, number in added.items()}
    normalized = {t["normalized"] for t in tokens if not t["special"]}
    for token in tokens:
        is_unknown = token["content"] == description["model"].get("unk_token")
        if entries and token["special"] and is_unknown and token["normalized"] in normalized:
            entries[token["content"].encode()] = PASSED_OVER
    return entries
