import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece

from preprocess.errors import WholewordError
from tests.train.shard_factory import ShardSpec, make_shards
from train.loader import LoaderOptions
from train.preview import preview


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
    assert "chosen" in shown
    for fate in ("masked", "replaced", "kept"):
        assert fate in shown


def test_a_missing_tokenizer_is_named(tmp_path):
    make_shards(tmp_path)
    with pytest.raises(WholewordError, match=r"tokenizer\.json"):
        preview(tmp_path, 1, LoaderOptions(8, 64))
