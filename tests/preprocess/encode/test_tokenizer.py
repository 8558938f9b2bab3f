import functools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import sentencepiece
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast

from preprocess.encode.auto_segmenter import choose_segmenter
from preprocess.encode.tokenizer import load_backend, load_tokenizer
from preprocess.errors import WholewordError
from tests.preprocess import support
from tests.preprocess.tokenizers_zoo import save_bare, save_bpe, save_unigram

SAVE = {
    "wordpiece": lambda folder: Path(support.TOKENIZER),
    "bpe": save_bpe,
    "unigram": save_unigram,
    "bare": save_bare,
}


@pytest.mark.parametrize("kind", list(SAVE))
def test_special_tokens_are_those_that_the_tokenizer_puts(kind: str, tmp_path: Path) -> None:
    folder = SAVE[kind](tmp_path / "tokenizer")
    loaded, source = load_tokenizer(str(folder)), AutoTokenizer.from_pretrained(folder)
    special = loaded.special
    text = "道可"
    middle = source(text, add_special_tokens=False)["input_ids"]
    assert [*special.prefix, *middle, *special.suffix] == source(text)["input_ids"]
    pair = [*special.prefix, *middle, *special.middle, *middle, *special.suffix]
    assert pair == source(text, text)["input_ids"]
    assert special.overhead(False) == source.num_special_tokens_to_add()
    assert special.overhead(True) == source.num_special_tokens_to_add(pair=True)
    assert special.mask_id == source.mask_token_id
    assert special.pad_id == source.pad_token_id
    assert special.unk_id == source.unk_token_id
    assert set(special.special_ids) == set(source.all_special_ids)
    assert loaded.vocab_size == max(source.get_vocab().values()) + 1


def test_the_kinds_of_special_tokens(tmp_path: Path) -> None:
    bert = load_tokenizer(support.TOKENIZER)
    assert (bert.kind, bert.special.prefix, bert.special.middle, bert.special.suffix) == (
        *("WordPiece", (2,), (3,), (3,)),
    )
    roberta = load_tokenizer(str(save_bpe(tmp_path / "bpe")))
    assert (roberta.kind, roberta.special.prefix, roberta.special.middle) == ("BPE", (0,), (2, 2))


def test_truncation_and_padding_are_left_behind(tmp_path: Path) -> None:
    source = AutoTokenizer.from_pretrained(support.TOKENIZER)
    source.backend_tokenizer.enable_truncation(4)
    source.backend_tokenizer.enable_padding(length=8)
    source.save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.sha256 == load_tokenizer(support.TOKENIZER).sha256
    assert len(load_backend(loaded.json).encode("天下大势，分久必合").ids) == 11


def test_saving_gives_the_same_tokenizer(tmp_path: Path) -> None:
    loaded = load_tokenizer(support.TOKENIZER)
    loaded.save(tmp_path / "copy")
    assert load_tokenizer(str(tmp_path / "copy")).sha256 == loaded.sha256


def save_english_bert(folder: Path) -> Path:
    """As bert-base-uncased: English, with some Han characters of their own."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz一不人"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizer(vocab={token: i for i, token in enumerate(vocabulary)}).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", [*SAVE, "english"])
def test_the_text_and_the_vocabulary_choose_the_segmenter(kind: str, tmp_path: Path) -> None:
    save = SAVE.get(kind, save_english_bert)
    tokenizer = load_tokenizer(str(save(tmp_path / "tokenizer")))
    choose = functools.partial(
        choose_segmenter, tokenizer_json=tokenizer.json, unk_id=tokenizer.special.unk_id
    )
    chinese, english = support.zh_text(9000).splitlines(), support.en_text(9000).splitlines()
    lacks = kind == "bare"
    assert choose(chinese)[0] == ("none" if lacks else "jieba"), choose(chinese)
    assert choose(english) == ("none", "0% of a sample of the text is Han")
    assert choose([*english, *chinese])[0] == ("none" if lacks else "jieba")
    assert choose(["これは日本語の文章です。私は人が好きです。"])[0] == "none"
    assert choose([]) == ("none", "0% of a sample of the text is Han")
    assert choose(english, has_options=True)[0] == "jieba"


@pytest.mark.parametrize(
    ("family", "file"),
    [("DebertaV2", "spm.model"), ("XLMRoberta", "sentencepiece.bpe.model")],
)
def test_a_folder_with_a_sentencepiece_model_alone(family: str, file: str, tmp_path: Path) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(support.en_text(9000).splitlines()),
        model_prefix=str(tmp_path / "made"),
        vocab_size=200,
        minloglevel=2,
    )
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (tmp_path / "made.model").rename(folder / file)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": f"{family}Tokenizer"})
    )
    loaded = load_tokenizer(str(folder))
    assert loaded.kind == "Unigram"
    ids = load_backend(loaded.json).encode("and the word", add_special_tokens=False).ids
    assert ids and loaded.special.unk_id not in ids


def save_without_mask(folder: Path) -> None:
    backend = Tokenizer(models.WordLevel({"a": 0, "<pad>": 1}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>").save_pretrained(folder)


def save_slow(folder: Path) -> None:
    folder.mkdir()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "CanineTokenizer"}')


def save_broken(folder: Path) -> None:
    folder.mkdir()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": 5}))


@pytest.mark.parametrize(
    ("save", "problem"),
    [
        (lambda folder: None, "not a tokenizer folder"),
        (lambda folder: folder.touch(), "not a tokenizer folder"),
        (lambda folder: folder.mkdir(), "cannot be loaded"),
        (save_broken, "cannot be loaded"),
        (save_slow, "only a slow tokenizer"),
        (save_without_mask, "no mask token"),
    ],
)
def test_unusable_tokenizers_are_named(tmp_path: Path, save, problem: str) -> None:
    folder = tmp_path / "tokenizer"
    save(folder)
    with pytest.raises(WholewordError, match=problem) as error:
        load_tokenizer(str(folder))
    assert str(error.value).startswith(f"{folder}: ")


def test_a_name_that_no_hub_can_give(tmp_path: Path) -> None:
    with pytest.raises(WholewordError, match="no-such/model-here: the tokenizer cannot be loaded"):
        load_tokenizer("no-such/model-here")


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def head(url: str, timeout: float) -> None:
        asked.append(url)
        raise ConnectionError

    monkeypatch.setattr("huggingface_hub.get_session", lambda: SimpleNamespace(head=head))
    with pytest.raises(WholewordError, match="nobody/nothing: the tokenizer cannot be loaded"):
        load_tokenizer("nobody/nothing")
    assert len(asked) == 1
