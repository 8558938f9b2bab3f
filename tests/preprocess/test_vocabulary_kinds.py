"""`train-vocab` of byte-level BPE and Unigram, and what is around them in each family."""

import json
import os
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders
from transformers import AutoTokenizer

from preprocess.encode.encoders import unsupported_reason
from preprocess.encode.segmenters import SegmenterSpec
from preprocess.encode.tokenizer import load_tokenizer
from preprocess.errors import WholewordError
from preprocess.read.unicode import is_han
from preprocess.vocabulary import train_vocabulary
from preprocess.vocabulary_families import FAMILIES
from tests.preprocess import support
from tests.preprocess.test_cli import build_arguments, invoke

SIZE = 900


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "a.txt"
    file.write_text(support.en_text(12_000) + support.zh_text(2_000) + "Café  ＡＢＣ <s> [MASK]\n")
    return file


def train(text: Path, output: Path, **choices: str) -> Path:
    train_vocabulary((str(text),), output, SIZE, **choices)  # type: ignore[arg-type]
    return output


@pytest.fixture(scope="module")
def folders(text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tokenizer of each family, of the kind that it is published with."""
    place = tmp_path_factory.mktemp("families")
    return {name: train(text, place / name, family=name) for name in FAMILIES}


EXPECTED = {
    "bert": ("WordPiece", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], "[CLS]0 [SEP]0 [SEP]1"),
    "modernbert": ("BPE", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], "[CLS]0 [SEP]0 [SEP]0"),
    "roberta": ("BPE", ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "<s>0 </s>0 </s>0 </s>0"),
    "xlm-roberta": (
        "Unigram", ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "<s>0 </s>0 </s>0 </s>0",
    ),
    "deberta-v2": (
        "Unigram", ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"], "[CLS]0 [SEP]0 [SEP]1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_has_its_special_tokens(folders: dict[str, Path], name: str) -> None:
    kind, tokens, around = EXPECTED[name]
    loaded = load_tokenizer(str(folders[name]))
    assert loaded.kind == kind
    tokenizer = AutoTokenizer.from_pretrained(folders[name])
    assert tokenizer.convert_ids_to_tokens(range(5)) == tokens
    assert len(tokenizer) <= SIZE
    pair = tokenizer("the theme", "of", return_token_type_ids=True)
    special = [
        f"{token}{kind}"
        for token, kind in zip(
            tokenizer.convert_ids_to_tokens(pair["input_ids"]), pair["token_type_ids"], strict=True
        )
        if token in tokens
    ]
    assert " ".join(special) == around
    assert ("token_type_ids" in tokenizer("a")) == (name in ("bert", "deberta-v2"))
    masked = tokenizer(f"the {tokenizer.mask_token} of")["input_ids"]
    assert masked.count(tokenizer.mask_token_id) == 1
    assert tokenizer.cls_token_id == masked[0] and tokenizer.sep_token_id == masked[-1]
    assert tokenizer.mask_token_id == loaded.special.mask_id == 4
    # a mask takes in the space before it, as in the published ones
    mask = tokenizer.added_tokens_decoder[4]
    assert mask.lstrip == (name in ("modernbert", "roberta", "xlm-roberta"))
    if mask.lstrip:
        assert masked == tokenizer(f"the{tokenizer.mask_token} of")["input_ids"]


@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_compiled(folders: dict[str, Path], name: str) -> None:
    loaded = load_tokenizer(str(folders[name]))
    assert unsupported_reason(loaded.json, SegmenterSpec("none")) is None


@pytest.mark.parametrize("name", ["bert", "modernbert", "xlm-roberta"])
def test_shards_are_built_with_it(folders: dict[str, Path], name: str, tmp_path: Path) -> None:
    text = tmp_path / "b.txt"
    text.write_text(support.en_text(2_000) + "Café  ＡＢＣ <s> [MASK]\n")
    arguments = build_arguments(tmp_path / "out", text)
    built = invoke(*arguments, "--tokenizer", folders[name], "--segmenter", "none", "--audit", "1")
    assert built.status == 0, built
    assert "encoder: compiled" in built.output


@pytest.mark.parametrize("name", ["bert", "roberta", "deberta-v2"])
def test_one_thread_or_several_give_the_same_bytes(
    folders: dict[str, Path], name: str, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library asks each time: `true` is a thread a core, `false`, which all tests have, one."""
    monkeypatch.setitem(os.environ, "TOKENIZERS_PARALLELISM", "true")
    again = train(text, tmp_path / "again", family=name)
    assert support.digests(again) == support.digests(folders[name])


def test_no_piece_goes_across_pre_tokens(folders: dict[str, Path]) -> None:
    backend = Tokenizer.from_file(str(folders["roberta"] / "tokenizer.json"))
    pieces = [p for p in backend.get_vocab() if p not in EXPECTED["roberta"][1]]
    texts = [decoders.ByteLevel().decode([piece]) for piece in pieces]
    whole = [text for text in texts if "\ufffd" not in text]
    assert len(whole) > SIZE / 2
    assert all(len(backend.pre_tokenizer.pre_tokenize_str(text)) == 1 for text in whole)
    unigram = AutoTokenizer.from_pretrained(folders["xlm-roberta"]).get_vocab()
    assert not [piece for piece in unigram if "\u2581" in piece[1:] or " " in piece]


def test_unigram_knows_every_chinese_character(folders: dict[str, Path], text: Path) -> None:
    vocabulary = set(AutoTokenizer.from_pretrained(folders["deberta-v2"]).get_vocab())
    assert {c for c in text.read_text() if is_han(c)} <= vocabulary


def test_a_kind_and_a_family_go_together(text: Path, tmp_path: Path) -> None:
    for number, (choices, kind, mask) in enumerate((
        ({"kind": "bpe"}, "BPE", "[MASK]"),
        ({"kind": "unigram"}, "Unigram", "<mask>"),
        ({"kind": "bpe", "family": "xlm-roberta"}, "BPE", "<mask>"),
        ({"kind": "wordpiece", "family": "modernbert"}, "WordPiece", "[MASK]"),
    )):  # fmt: skip
        folder = train(text, tmp_path / str(number), **choices)
        assert json.loads((folder / "tokenizer.json").read_text())["model"]["type"] == kind
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert tokenizer.mask_token == mask
        assert "token_type_ids" not in tokenizer("a")


def test_lowercase_is_unigrams_choice(text: Path, tmp_path: Path) -> None:
    train_vocabulary((str(text),), tmp_path / "u", SIZE, kind="unigram", lowercase=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "u")
    assert tokenizer.tokenize("The ＡＢＣ") == tokenizer.tokenize("the abc")


@pytest.mark.parametrize(
    ("size", "choices", "problem"),
    [
        (260, {"kind": "bpe"}, "--vocab-size 260: byte-level BPE .* ask for 261"),
        (100, {"kind": "unigram"}, "--vocab-size 100: the text has"),
        (SIZE, {"kind": "unigram", "min_frequency": 3}, "--min-frequency 3: Unigram has no such"),
        (SIZE, {"kind": "bpe", "lowercase": True}, "--lowercase: byte-level BPE keeps"),
        (SIZE, {"kind": "bpee"}, "--type bpee: not known; write wordpiece, bpe, unigram"),
        (SIZE, {"family": "bart"}, "--preset-for bart: not known; write bert, modernbert"),
        (SIZE, {"kind": "wordpiece", "family": "roberta"}, "has BERT's special tokens"),
    ],
)
def test_bad_requests_are_one_line(
    text: Path, tmp_path: Path, size: int, choices: dict[str, object], problem: str
) -> None:
    with pytest.raises(WholewordError, match=problem) as caught:
        train_vocabulary((str(text),), tmp_path / "new", size, **choices)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()
