"""Tokenizers of every kind, trained on the samples and written as Hugging Face folders."""

from pathlib import Path

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from tests.preprocess import support

ROBERTA_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def _lines() -> list[str]:
    return (support.zh_text(120_000) + support.en_text(60_000)).splitlines()


def save_bpe(folder: Path) -> Path:
    """Byte-level BPE with RoBERTa's special tokens."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=ROBERTA_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_lines(), trainer)
    backend.post_processor = processors.RobertaProcessing(
        ("</s>", backend.token_to_id("</s>")), ("<s>", backend.token_to_id("<s>"))
    )
    return _save(backend, folder)


def save_unigram(folder: Path) -> Path:
    """Unigram with XLM-R's special tokens, which are pieces of its vocabulary."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=4000,
        special_tokens=ROBERTA_TOKENS,
        unk_token="<unk>",
        show_progress=False,
    )
    backend.train_from_iterator(_lines(), trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(t, backend.token_to_id(t)) for t in ("<s>", "</s>")],
    )
    return _save(backend, folder)


def save_bare(folder: Path) -> Path:
    """A vocabulary of two characters, no unknown token, and nothing around a text."""
    backend = Tokenizer(models.BPE({"<pad>": 0, "<mask>": 1, "道": 2, "可": 3}, []))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", mask_token="<mask>"
    )
    tokenizer.save_pretrained(folder)
    return folder


def _save(backend: Tokenizer, folder: Path) -> Path:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        cls_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
    )
    tokenizer.save_pretrained(folder)
    return folder
