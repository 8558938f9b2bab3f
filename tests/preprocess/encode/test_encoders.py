import functools
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import jieba
import numpy as np
import pyarrow as pa
import pytest
import tokenizers

from preprocess.encode.encoders import choose_encoder, make_encoder
from preprocess.encode.protocol import EncodedDocuments, EncoderSpec
from preprocess.encode.reference import ReferenceEncoder
from preprocess.encode.segmenters import SegmenterSpec
from preprocess.encode.sentences import sentence_boundaries
from preprocess.encode.tokenizer import LoadedTokenizer, load_backend, load_tokenizer
from preprocess.format import id_dtype
from preprocess.read.unicode import is_han
from tests.preprocess import support
from tests.preprocess.encode.compiled.texts import PIECES
from tests.preprocess.tokenizers_zoo import ROBERTA_TOKENS, save_bare, save_bpe, save_unigram

SAVE: dict[str, Callable[[Path], Path]] = {
    "wordpiece": lambda folder: Path(support.TOKENIZER),
    "bpe": save_bpe,
    "unigram": save_unigram,
}


@pytest.fixture(scope="module", params=list(SAVE))
def tokenizer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> LoadedTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer") / request.param
    return load_tokenizer(str(SAVE[request.param](folder)))


def encode(tokenizer: LoadedTokenizer, segmenter: str, *texts: str) -> EncodedDocuments:
    return _encoder(tokenizer.json, segmenter).encode(pa.array(texts, pa.large_string()))


@functools.cache
def _encoder(tokenizer_json: str, segmenter: str) -> ReferenceEncoder:
    spec = SegmenterSpec("custom", segmenter) if ":" in segmenter else SegmenterSpec(segmenter)
    return ReferenceEncoder(tokenizer_json, spec)


@functools.cache
def _backend(tokenizer_json: str) -> tokenizers.Tokenizer:
    return load_backend(tokenizer_json)


def _spans(tokenizer_json: str, text: str) -> list[tuple[int, int]]:
    return _backend(tokenizer_json).encode(text, add_special_tokens=False).offsets


def spans_of_words(tokenizer: LoadedTokenizer, segmenter: str, text: str) -> list[tuple[int, int]]:
    """Characters `[begin, end)` that each word's tokens cover together."""
    encoded = encode(tokenizer, segmenter, text)
    spans = _spans(tokenizer.json, text)
    words: list[tuple[int, int]] = []
    for (begin, end), starts in zip(spans, encoded.word_starts, strict=True):
        if starts:
            words.append((begin, end))
        else:
            words[-1] = (words[-1][0], max(words[-1][1], end))
    return words


def wholes(text: str) -> list[str]:
    """A segmenter that knows four words."""
    words, position = [], 0
    while position < len(text):
        word = next(
            (
                w
                for w in ("天下大势", "分久必合", "abc def", "合久")
                if text.startswith(w, position)
            ),
            text[position],
        )
        words.append(word)
        position += len(word)
    return words


WHOLES = "tests.preprocess.encode.test_encoders:wholes"


def test_ids_are_the_tokenizers_own(tokenizer: LoadedTokenizer) -> None:
    texts = [*support.zh_text(6000).splitlines(), *support.en_text(2000).splitlines(), "", " "]
    encoded = encode(tokenizer, "jieba", *texts)
    assert encoded.ids.dtype == np.uint16
    assert len(encoded.offsets) == len(texts) + 1
    for i, text in enumerate(texts):
        ids = encoded.ids[encoded.offsets[i] : encoded.offsets[i + 1]].tolist()
        assert ids == tokenizer.source(text, add_special_tokens=False)["input_ids"]


def test_han_words_are_jiebas(tokenizer: LoadedTokenizer) -> None:
    """In text of Han alone no token of these tokenizers crosses a jieba word's end unnoticed."""
    for line in support.zh_text(8000).splitlines():
        text = "".join(character for character in line if is_han(character))[:200]
        if not text:
            continue
        words = jieba.lcut(text)
        starts = {sum(map(len, words[:i])) for i in range(len(words))}
        spans = _spans(tokenizer.json, text)
        found = {begin for begin, _ in spans_of_words(tokenizer, "jieba", text)}
        assert found <= starts
        inside = {c for begin, end in spans for c in range(begin + 1, end)}
        assert starts - inside - {0} <= found
        if tokenizer.kind == "WordPiece":
            assert found == starts


def test_words_of_several_characters_are_one_word() -> None:
    bert = load_tokenizer(support.TOKENIZER)
    text = "天下大势，分久必合，合久abc def"
    spans = spans_of_words(bert, WHOLES, text)
    assert [text[b:e] for b, e in spans] == ["天下大势", "，", "分久必合", "，", "合久", "abc def"]
    plain = spans_of_words(bert, "none", text)
    assert [text[b:e] for b, e in plain] == [*text.replace("abc def", ""), "abc", "def"]


def test_two_tokens_of_one_character_are_never_two_words(tmp_path: Path) -> None:
    bpe = load_tokenizer(str(save_bpe(tmp_path)))
    text = "龘靐齉😀龘"  # rare: byte-level BPE needs several tokens for each
    encoded = encode(bpe, "jieba", text)
    assert len(encoded.ids) > len(text)
    words = jieba.lcut(text)
    assert encoded.word_starts.sum() <= len(words)
    spans = spans_of_words(bpe, "jieba", text)
    assert all(end == begin for (_, end), (begin, _) in pairwise(spans))


def test_pieces_never_start_a_word() -> None:
    bert = load_tokenizer(support.TOKENIZER)
    names = {i: token for token, i in bert.source.get_vocab().items()}
    text = "unquestionablyness antidisestablishment 中文x3.14y"
    encoded = encode(bert, "jieba", text)
    pieces = [names[int(i)].startswith("##") for i in encoded.ids]
    assert any(pieces)
    assert not encoded.word_starts[np.array(pieces)].any()


def test_sentences_and_documents_start_where_they_begin(tokenizer: LoadedTokenizer) -> None:
    texts = support.zh_text(6000).splitlines()
    encoded = encode(tokenizer, "jieba", *texts)
    for i, text in enumerate(texts):
        begin, end = encoded.offsets[i], encoded.offsets[i + 1]
        starts = encoded.sentence_starts[begin:end]
        spans = _spans(tokenizer.json, text)
        wanted = [False] * len(spans)
        for boundary in [0, *sentence_boundaries(text)]:
            first = next((k for k, (b, _) in enumerate(spans) if b >= boundary), None)
            if first is not None:
                wanted[first] = True
        assert starts.tolist() == wanted
        assert not (starts & ~encoded.word_starts[begin:end]).any()


@pytest.mark.parametrize("segmenter", ["jieba", "none"])
def test_literal_special_tokens_are_text(tokenizer: LoadedTokenizer, segmenter: str) -> None:
    literals = ["[SEP]", "[MASK]", "[CLS]", "[PAD]", "<s>", "</s>", "<mask>", "<pad>"]
    texts = [*literals, " ".join(literals), "".join(literals), "中<mask>国[MASK]的 </s> a<s>b"]
    encoded = encode(tokenizer, segmenter, *texts)
    forbidden = set(tokenizer.special.special_ids) - {tokenizer.special.unk_id}
    assert not forbidden & set(encoded.ids.tolist())
    assert (np.diff(encoded.offsets) > 0).all()
    if tokenizer.kind == "Unigram":
        assert encoded.counts["special_token_literals"] >= 12


def test_bpe_that_learnt_to_spell_a_special_token(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()  # punctuation stays in words
    trainer = tokenizers.trainers.BpeTrainer(special_tokens=ROBERTA_TOKENS, show_progress=False)
    backend.train_from_iterator(["<s> a</s> <mask> b<s>c </s>"] * 50, trainer)
    merges = json.loads(backend.to_str())["model"]["merges"]
    assert any("".join(merge) in ROBERTA_TOKENS for merge in merges)
    ids = load_backend(backend.to_str()).encode("<s> a</s> <mask>", add_special_tokens=False).ids
    assert ids
    assert not {backend.token_to_id(token) for token in ROBERTA_TOKENS} & set(ids)


def test_documents_that_do_not_join_use_pre_tokens() -> None:
    bert = load_tokenizer(support.TOKENIZER)
    text = "天下 abc"
    encoded = encode(bert, "tests.preprocess.encode.test_segmenters:shout", text, text)
    assert encoded.counts == {"segmenter_did_not_join": 2}
    assert encoded.word_starts.tolist() == encode(bert, "none", text, text).word_starts.tolist()


def test_whitespace_marks_are_no_text() -> None:
    bert = load_tokenizer(support.TOKENIZER)
    encoded = encode(bert, "whitespace", "天下 大势 ，分久 必合")
    assert encoded.ids.tolist() == encode(bert, "none", "天下大势 ，分久必合").ids.tolist()
    assert encoded.word_starts.astype(int).tolist() == [1, 0, 1, 0, 1, 0, 0, 1, 0]


@pytest.mark.parametrize(
    "segmenter",
    ["none", "jieba", "whitespace", WHOLES, "tests.preprocess.encode.test_segmenters:shout"],
)
def test_the_library_in_batches_is_equal_to_the_reference(
    tokenizer: LoadedTokenizer, segmenter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preprocess.encode.library._BATCH_BYTES", 2000)
    spec = SegmenterSpec("custom", segmenter) if ":" in segmenter else SegmenterSpec(segmenter)
    pairs = [f"中{a}b{b}中 c" for a, b in pairwise(PIECES)]
    texts = [*support.zh_text(8000).splitlines(), "", *support.en_text(4000).splitlines(), *pairs]
    documents = pa.array(["not encoded", *texts, ""], pa.large_string()).slice(1)
    library = make_encoder(EncoderSpec(tokenizer.json, spec, "library"))
    for part in (documents, documents.slice(3, 0)):
        found = library.encode(part)
        expected = _encoder(tokenizer.json, segmenter).encode(part)
        assert found.counts == expected.counts
        for name in ("ids", "word_starts", "sentence_starts", "offsets"):
            assert np.array_equal(getattr(found, name), getattr(expected, name))
            assert getattr(found, name).dtype == getattr(expected, name).dtype


def test_latin_words_and_punctuation_within_chinese_are_words_of_their_own(
    tmp_path: Path,
) -> None:
    for save in (save_bpe, save_unigram):
        tokenizer = load_tokenizer(str(save(tmp_path / save.__name__)))
        text = "天下大势，用abc写：合久必分。"
        spans = spans_of_words(tokenizer, "jieba", text)
        words = [text[begin:end] for begin, end in spans]
        assert {"abc", "，", "：", "。"} <= set(words), words


def test_ids_take_the_smallest_type() -> None:
    assert id_dtype(65_536) == np.uint16
    assert id_dtype(65_537) == np.uint32


def test_the_compiled_encoder_is_chosen_where_it_can_be(tmp_path: Path) -> None:
    bert = load_tokenizer(support.TOKENIZER).json
    jieba_words, custom = SegmenterSpec("jieba"), SegmenterSpec("custom", WHOLES)
    assert choose_encoder("auto", bert, jieba_words) == ("compiled", None)
    assert choose_encoder("reference", bert, jieba_words) == ("reference", None)
    for save in (save_bpe, save_unigram):
        other = load_tokenizer(str(save(tmp_path / save.__name__))).json
        assert choose_encoder("auto", other, custom) == ("compiled", None)
    for tokenizer_json, segmenter in (
        (bert, custom),
        (load_tokenizer(str(save_bare(tmp_path / "bare"))).json, jieba_words),
    ):
        kind, reason = choose_encoder("auto", tokenizer_json, segmenter)
        assert kind == "library"
        assert reason
        assert choose_encoder("compiled", tokenizer_json, segmenter) == ("compiled", reason)
