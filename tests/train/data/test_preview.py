import re

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece

from preprocess.errors import WholewordError
from tests.train.shard_factory import ShardSpec, make_shards
from train.data.loader import LoaderOptions
from train.data.preview import preview


def add_tokenizer(folder, spec):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [f"w{number}" for number in range(5, spec.vocab_size)]
    vocabulary = {token: number for number, token in enumerate(special + words)}
    (folder / "tokenizer").mkdir()
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))


@pytest.mark.parametrize(("layout", "pairs"), [("packed", False), ("padded", True)])
def test_preview_shows_rows_words_and_shares(tmp_path, capsys, layout, pairs):
    spec = ShardSpec(pairs=pairs)
    make_shards(tmp_path, spec)
    add_tokenizer(tmp_path, spec)
    options = LoaderOptions(8, spec.max_length, layout=layout, sentence_order=pairs)
    preview(tmp_path, 2, options)
    shown = capsys.readouterr().out
    assert shown.count("[CLS]") == 2
    assert shown.count("of the dataset") == 2
    assert " chosen by chance (15.0% on average):\n{masked} " in shown
    legend = shown.splitlines()[-1]  # on a line of its own, so that no mark breaks at 80 columns
    assert len(legend) < 80 and legend.count("%") == 3 and legend.endswith("%")
    assert re.search(r"^2 of \d+ rows of the micro-batch; in all of them, \d+ tokens", shown, re.M)
    for fate in ("{masked}", "{replaced→another}", "{kept=}"):
        assert fate in shown


def test_masks_show_without_colour(tmp_path, capsys):
    """Piped output has no colour; rows must tell what was done to which token."""
    spec = ShardSpec()
    make_shards(tmp_path, spec)
    add_tokenizer(tmp_path, spec)
    preview(tmp_path, 8, LoaderOptions(8, spec.max_length, mlm_probability=(0.5, 0.5)))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    rows = shown[: shown.index(" chosen")]
    for mark in (r"\{w\d+\}", r"\{w\d+→w\d+\}", r"\{w\d+=\}"):
        assert re.search(mark, rows), mark
    assert re.search(r"(?<![{→w\d])w\d+(?![\d→=}])", rows)  # the others are bare


def test_a_missing_tokenizer_is_named(tmp_path):
    make_shards(tmp_path)
    with pytest.raises(WholewordError, match=r"tokenizer\.json"):
        preview(tmp_path, 1, LoaderOptions(8, 64))
