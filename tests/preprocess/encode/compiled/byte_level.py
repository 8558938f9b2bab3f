"""Byte-level BPE tokenizers with every option, around one vocabulary trained on the samples."""

import functools
from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from preprocess.encode.compiled.pretokens import CL100K, GPT2, PATTERNS
from tests.preprocess import support
from tests.preprocess.encode.compiled.descriptions import Description, changed
from tests.preprocess.tokenizers_zoo import ROBERTA_TOKENS

PATTERN = {kind: pattern for pattern, kind in PATTERNS.items()}
CONTRACTIONS = [" don't we'll I've it's", " DON'T We'LL i'Ve it'ſ", "'''s 's"]


@functools.cache
def trained() -> str:
    """1,500 entries: GPT-2's pre-tokenizer, no normalizer, RoBERTa's special tokens."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=ROBERTA_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = support.zh_text(60_000) + support.en_text(60_000)
    backend.train_from_iterator([*text.splitlines(), *CONTRACTIONS * 9, "  x   y" * 20], trainer)
    return str(backend.to_str())


def byte_level(prefix: bool = False, regex: bool = True) -> Description:
    return {
        "type": "ByteLevel",
        "add_prefix_space": prefix,
        "trim_offsets": True,
        "use_regex": regex,
    }


def split(pattern: str, behavior: str = "Isolated", invert: bool = False) -> Description:
    pattern_entry = {"Regex": pattern}
    return {"type": "Split", "pattern": pattern_entry, "behavior": behavior, "invert": invert}


def sequence(*parts: Description, name: str = "pretokenizers") -> Description:
    return {"type": "Sequence", name: list(parts)}


def roberta(trim: bool, prefix: bool) -> Description:
    return {
        "type": "RobertaProcessing",
        "sep": ["</s>", 2],
        "cls": ["<s>", 0],
        "trim_offsets": trim,
        "add_prefix_space": prefix,
    }


def added(content: str, number: int, **changes: bool) -> Description:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "special": False}
    return {"id": number, "content": content, "normalized": True} | plain | changes


def unknown_bytes(description: Description, fuse: bool) -> None:
    """Take letters and a byte of Han characters out of the vocabulary."""
    model = description["model"]
    gone = [c for c in "xqä" if c in model["vocab"]]
    model["vocab"] = {t: i for t, i in model["vocab"].items() if not any(c in t for c in gone)}
    model["merges"] = [m for m in model["merges"] if not any(c in "".join(m) for c in gone)]
    model |= {"unk_token": "<unk>", "fuse_unk": fuse}


SPACES = [added(" " * n, 1500 + n, normalized=True) for n in range(24, 1, -1)]
NAMES = [added("|||IP|||", 1600), added("a,b", 1601), added("é", 1602), added("国之", 1603)]
NFC = {"type": "NFC"}
TRIM = byte_level() | {"add_prefix_space": False}

VARIANTS: dict[str, Callable[[Description], Any]] = {
    "gpt2": lambda d: None,
    "roberta": lambda d: d.update(post_processor=roberta(True, False)),
    "prefix": lambda d: d.update(pre_tokenizer=byte_level(True)),
    "prefix, trimmed": lambda d: d.update(
        pre_tokenizer=byte_level(True), post_processor=roberta(True, True)
    ),
    "prefix, all trimmed": lambda d: d.update(
        pre_tokenizer=byte_level(True), post_processor=roberta(True, False)
    ),
    "no regex": lambda d: d.update(pre_tokenizer=byte_level(regex=False)),
    "neox": lambda d: d.update(
        normalizer=NFC, added_tokens=d["added_tokens"] + SPACES + NAMES, post_processor=TRIM
    ),
    "neox, prefix": lambda d: d.update(
        normalizer=sequence(NFC, name="normalizers"),
        added_tokens=d["added_tokens"] + SPACES,
        pre_tokenizer=byte_level(True),
        post_processor=sequence(roberta(True, True), name="processors"),
    ),
    "added, not normalized": lambda d: d.update(
        normalizer=NFC, added_tokens=d["added_tokens"] + [t | {"normalized": False} for t in NAMES]
    ),
    "llama3": lambda d: (
        d.update(
            pre_tokenizer=sequence(split(PATTERN[CL100K, 3]), byte_level(regex=False)),
            post_processor=TRIM,
        ),
        d["model"].update(ignore_merges=True),
    ),
    "qwen2": lambda d: d.update(
        normalizer=NFC,
        pre_tokenizer=sequence(split(PATTERN[CL100K, 1]), byte_level(regex=False)),
    ),
    "digits": lambda d: d.update(
        pre_tokenizer=sequence({"type": "Digits", "individual_digits": True}, byte_level())
    ),
    "digits together": lambda d: d.update(
        pre_tokenizer=sequence({"type": "Digits", "individual_digits": False}, byte_level())
    ),
    "split": lambda d: d.update(
        pre_tokenizer=sequence(
            split(r"\p{N}{1,3}"), split(PATTERN[GPT2, 0], "Removed", True), byte_level(regex=False)
        )
    ),
    "unknown bytes": lambda d: unknown_bytes(d, fuse=False),
    "unknown bytes, fused": lambda d: unknown_bytes(d, fuse=True),
}


@functools.cache
def variant(name: str) -> str:
    """The trained tokenizer with a variant's parts."""
    return changed(trained(), VARIANTS[name])
