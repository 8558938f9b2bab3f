from pathlib import Path

import pytest
from tokenizers.implementations import BertWordPieceTokenizer
from transformers import AutoTokenizer

from preprocess.encode.tokenizer import load_tokenizer
from preprocess.errors import WholewordError
from preprocess.read.unicode import is_han
from preprocess.vocabulary import SPECIAL_TOKENS, train_vocabulary
from tests.preprocess import support

TEXT = "Café ÜBER naïve İstanbul\n天下大势，分久必合。\n the theme of the thesis \n[MASK] ☃\n"


@pytest.fixture(scope="module")
def folder(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("vocabulary") / "tokenizer"
    entries = train_vocabulary((str(corpus),), output, 2500)
    assert entries == len(AutoTokenizer.from_pretrained(output)) == 2500
    return output


def test_every_chinese_character_has_an_entry(folder: Path, corpus: Path) -> None:
    vocabulary = AutoTokenizer.from_pretrained(folder).get_vocab()
    assert [vocabulary[token] for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    text = (corpus / "zh.txt").read_text()
    assert {character for character in text if is_han(character)} <= set(vocabulary)


def test_two_trainings_give_the_same_bytes(folder: Path, corpus: Path, tmp_path: Path) -> None:
    train_vocabulary((str(corpus),), tmp_path / "again", 2500)
    assert support.digests(tmp_path / "again") == support.digests(folder)


def test_entries_are_listed_in_order(folder: Path) -> None:
    listed = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    vocabulary = AutoTokenizer.from_pretrained(folder).get_vocab()
    assert {token: i for i, token in enumerate(listed)} == vocabulary


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [None, True, False])
@pytest.mark.parametrize("handle_chinese_chars", [True, False])
def test_the_reloaded_tokenizer_is_the_trained_one(
    tmp_path: Path, lowercase: bool, strip_accents: bool | None, handle_chinese_chars: bool
) -> None:
    (tmp_path / "a.txt").write_text(TEXT * 3, encoding="utf-8")
    output = tmp_path / "tokenizer"
    choices = {
        "lowercase": lowercase,
        "strip_accents": strip_accents,
        "handle_chinese_chars": handle_chinese_chars,
    }
    train_vocabulary((str(tmp_path / "a.txt"),), output, 150, **choices)
    vocabulary = AutoTokenizer.from_pretrained(output).get_vocab()
    trained = BertWordPieceTokenizer(vocabulary, **choices)
    reloaded = AutoTokenizer.from_pretrained(output)
    for text in TEXT.splitlines():
        ids = trained.encode(text, add_special_tokens=False).ids
        assert reloaded(text, add_special_tokens=False)["input_ids"] == ids or "[MASK]" in text
    assert load_tokenizer(str(output)).special.prefix == (2,)


def test_bad_requests_are_one_line(tmp_path: Path, corpus: Path) -> None:
    inputs = (str(corpus),)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    (tmp_path / "blank.txt").write_text(" \n\n")
    for arguments, problem in (
        ((inputs, tmp_path / "taken", 3500), "taken: already exists"),
        ((inputs, tmp_path / "taken" / "file", 3500), "file: already exists"),
        ((inputs, tmp_path / "taken" / "file" / "under", 3500), "under: cannot be written"),
        ((inputs, tmp_path / "new", 20), "--vocab-size 20: the text has"),
        ((inputs, tmp_path / "new", -1), "--vocab-size -1: must be"),
        ((inputs, tmp_path / "new", 10**30), "--vocab-size"),
        (((str(tmp_path / "blank.txt"),), tmp_path / "new", 3500), "holds no text"),
    ):
        with pytest.raises(WholewordError, match=problem):
            train_vocabulary(*arguments)
    with pytest.raises(WholewordError, match="--min-frequency -1"):
        train_vocabulary(inputs, tmp_path / "new", 3500, min_frequency=-1)
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".train-vocab-*"))


def syllables(count: int) -> list[str]:
    """Korean syllables, each in words of its own, the first ones the most often."""
    texts = []
    for number in range(count):
        syllable = chr(0xAC00 + number)
        texts.append(f"{syllable} {syllable}{chr(0xAC00 + number // 2)} {syllable}{syllable}")
    return texts


def test_all_syllables_of_a_korean_text_get_an_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ko.txt").write_text("\n".join(syllables(1800)), encoding="utf-8")
    train_vocabulary((str(tmp_path / "ko.txt"),), tmp_path / "out", 9000, lowercase=False)
    vocabulary = AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()
    assert {chr(0xAC00 + number) for number in range(1800)} <= set(vocabulary)
    assert capsys.readouterr().err == ""


def test_characters_without_room_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ko.txt").write_text("\n".join(syllables(1500)), encoding="utf-8")
    train_vocabulary((str(tmp_path / "ko.txt"),), tmp_path / "out", 2500, lowercase=False)
    assert "has no room for all characters of this text, and " in capsys.readouterr().err
