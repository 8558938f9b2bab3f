"""BPE over characters with every option, around one vocabulary trained on the samples."""

import functools
import json
from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from tests.preprocess import support
from tests.preprocess.encode.compiled.byte_level import added
from tests.preprocess.encode.compiled.descriptions import Description, changed

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


@functools.cache
def trained() -> str:
    """About 2,000 pieces, as Gemma and mmBERT have them: pieces of bytes, then merges."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    # Without it whole documents would be merged, which takes the trainer long.
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trainer = trainers.BpeTrainer(
        vocab_size=2200, special_tokens=[*SPECIAL, *BYTES], limit_alphabet=700, show_progress=False
    )
    lines = (support.zh_text(40_000) + support.en_text(60_000)).splitlines()
    backend.train_from_iterator([*lines, "a  b   c    d" * 9], trainer)
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>",
        pair="<bos> $A <eos> $B <eos>",
        special_tokens=[(t, backend.token_to_id(t)) for t in ("<bos>", "<eos>")],
    )
    description = json.loads(str(backend.to_str()))
    # The trainer makes special tokens of the pieces of bytes; published tokenizers have it not so.
    tokens = [t for t in description["added_tokens"] if t["content"] not in BYTES]
    number = max(description["model"]["vocab"].values()) + 1
    ordinary = [*(n * "\n" for n in range(2, 9)), "▁▁", "▁▁▁", "<h1>", "<unused0>", "国之", "a,b"]
    tokens += [
        added(content, number + index, normalized=False) for index, content in enumerate(ordinary)
    ]
    description["added_tokens"] = tokens
    return json.dumps(description)


def replace(pattern: str, content: str) -> Description:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def sequence(*parts: Description | str) -> Description:
    each = [{"type": part} if isinstance(part, str) else part for part in parts]
    return {"type": "Sequence", "normalizers": each}


MARKS = replace(" ", "▁")
VARIANTS: dict[str, Callable[[Description], Any]] = {
    "gemma": lambda d: None,
    "nfkc": lambda d: d.update(normalizer=sequence("NFKC", "Lowercase", MARKS)),
    "no normalizer": lambda d: d.update(normalizer=None, pre_tokenizer=None),
}


@functools.cache
def variant(name: str) -> str:
    """The trained tokenizer with a variant's parts."""
    return changed(trained(), VARIANTS[name])
