"""What the compiled encoder must give: jieba and the tokenizer, aligned by characters."""

import functools
from pathlib import Path

import jieba
import numpy as np
import tokenizers

from preprocess.encode.protocol import EncodedDocuments
from preprocess.encode.segmenters import SegmenterSpec, jieba_tokenizer
from preprocess.encode.sentences import sentence_boundaries
from preprocess.read.unicode import is_han
from tests.preprocess.support import TOKENIZER

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHARACTERS = "中国人民的一了是在云计算三演义天下abcdefghijklmnopqrstuvwxyzéßσςi̇豈各〇ー१"


@functools.cache
def bert_json(
    lowercase: bool = True,
    strip_accents: bool | None = None,
    handle_chinese_chars: bool = True,
    clean_text: bool = True,
    vocabulary: str = f"{TOKENIZER}/vocab.txt",
) -> str:
    """A BERT tokenizer around a vocabulary; with the sample's, characters are added to it."""
    lines = Path(vocabulary).read_text(encoding="utf-8").rstrip("\n").split("\n")
    entries = dict.fromkeys(lines)
    if vocabulary.startswith(TOKENIZER):
        entries |= dict.fromkeys([*CHARACTERS, *(f"##{c}" for c in CHARACTERS), "##国人", "一了"])
    ids = {entry: number for number, entry in enumerate(entries)}
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100)
    )
    backend.normalizer = tokenizers.normalizers.BertNormalizer(
        clean_text=clean_text,
        handle_chinese_chars=handle_chinese_chars,
        strip_accents=strip_accents,
        lowercase=lowercase,
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    backend.add_special_tokens(SPECIAL)
    return backend.to_str()


@functools.cache
def private_jieba(user_dicts: tuple[str, ...] = ()) -> jieba.Tokenizer:
    return jieba_tokenizer(user_dicts)


@functools.cache
def backend(tokenizer_json: str) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer.from_str(tokenizer_json)
    made.encode_special_tokens = True
    return made


def whitespace_words(text: str) -> tuple[str, set[int]]:
    """The text less the marks between words, and where words begin in it."""
    kept = ""
    begins = set()
    index = 0
    while index < len(text):
        end = index
        while end < len(text) and text[end].isspace() == text[index].isspace():
            end += 1
        run = text[index:end]
        if not run.isspace():
            begins.add(len(kept))
            kept += run
        elif not (
            set(run) == {" "}
            and kept
            and end < len(text)
            and is_han(kept[-1])
            and is_han(text[end])
        ):
            kept += run
        index = end
    return kept, begins


def encode(
    tokenizer_json: str, segmenter: SegmenterSpec, text: str
) -> tuple[list[int], list[bool], list[bool]]:
    """Ids, word starts and sentence starts of one document."""
    begins: set[int] | None = None
    if segmenter.kind == "whitespace":
        text, begins = whitespace_words(text)
    elif segmenter.kind == "jieba":
        words = private_jieba(segmenter.user_dicts).lcut(text, HMM=segmenter.hmm)
        begins = {0, *np.cumsum([len(word) for word in words]).tolist()}
    encoding = backend(tokenizer_json).encode(text, add_special_tokens=False)
    spans, pre_tokens = encoding.offsets, encoding.word_ids  # each a new list when asked for
    sentence_of = np.searchsorted([0, *sentence_boundaries(text)], [b for b, _ in spans], "right")
    word_starts, sentence_starts = [], []
    for i, (first, _) in enumerate(spans):
        new_sentence = i == 0 or bool(sentence_of[i] > sentence_of[i - 1])
        new_word = i == 0 or pre_tokens[i] != pre_tokens[i - 1]
        if begins is not None:
            covered = i > 0 and spans[i - 1][1] > first
            new_word = new_word and first in begins and not covered
        word_starts.append(new_word or new_sentence)
        sentence_starts.append(new_sentence)
    return encoding.ids, word_starts, sentence_starts


def check(
    encoded: EncodedDocuments, tokenizer_json: str, segmenter: SegmenterSpec, texts: list[str]
) -> int:
    """Assert that documents are encoded as the oracle has them; the number of tokens."""
    assert len(encoded.offsets) == len(texts) + 1
    assert encoded.offsets[0] == 0
    assert encoded.offsets[-1] == len(encoded.ids)
    for number, text in enumerate(texts):
        begin, end = encoded.offsets[number], encoded.offsets[number + 1]
        ids, word_starts, sentence_starts = encode(tokenizer_json, segmenter, text)
        assert encoded.ids[begin:end].tolist() == ids, repr(text)
        assert encoded.word_starts[begin:end].tolist() == word_starts, repr(text)
        assert encoded.sentence_starts[begin:end].tolist() == sentence_starts, repr(text)
    return len(encoded.ids)
