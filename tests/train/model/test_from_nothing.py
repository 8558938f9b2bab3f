"""Folders with a configuration and no weights begin from nothing, and that is said."""

import json

import pytest
import torch
from transformers import AutoModelForMaskedLM

from preprocess.errors import WholewordError
from tests.train.model.test_load import vocabulary, write_tokenizer
from tests.train.model_zoo import CONFIGS, DEBERTA, VOCAB
from train.model.from_nothing import has_config_alone
from train.model.load import load_model
from train.model.new_weights import new_weights


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("shards"), VOCAB)


def write_config(folder, name="bert", **changes):
    (DEBERTA if name == "deberta" else CONFIGS[name]).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return str(folder)


@pytest.mark.parametrize("name", ["bert", "roberta", "modernbert", "deberta"])
def test_a_config_alone_begins_from_nothing(shards, tmp_path, name):
    folder, notes = write_config(tmp_path, name), []
    one, same, other = (
        load_model(folder, vocabulary(shards, max_length=60), seed=seed, notes=notes)
        for seed in (1, 1, 2)
    )
    weights = [model.get_input_embeddings().weight for model in (one, same, other)]
    assert torch.equal(*weights[:2]) and not torch.equal(*weights[1:])
    assert notes == [f"{folder} has a config.json and no weights: it begins from nothing"] * 3
    assert not new_weights(one)  # all is new: nothing is trained alone first


def test_the_vocabulary_is_the_shards(shards, tmp_path):
    folder, notes = write_config(tmp_path, "modernbert", vocab_size=5000, pad_token_id=4999), []
    config = load_model(folder, vocabulary(shards), notes=notes).config
    assert (config.vocab_size, config.pad_token_id) == (VOCAB, 0)
    assert "with the 60 vocabulary entries of the shards, not 5,000" in notes[0]


@pytest.mark.parametrize(("size", "kept"), [(64, 64), (128, 128), (61, VOCAB), (30, VOCAB)])
def test_a_size_rounded_up_is_kept(shards, tmp_path, size, kept):
    model = load_model(write_config(tmp_path, vocab_size=size), vocabulary(shards))
    assert model.config.vocab_size == kept


def test_a_tokenizer_beside_it_must_be_the_shards(shards, tmp_path):
    folder = write_config(tmp_path, vocab_size=77)
    write_tokenizer(tmp_path, VOCAB)
    assert load_model(folder, vocabulary(shards)).config.vocab_size == 77
    write_tokenizer(tmp_path, VOCAB, "other")
    with pytest.raises(WholewordError, match="id 5 is 'other5'"):
        load_model(folder, vocabulary(shards))


def test_weights_are_made_in_fp32_and_saved_whole(shards, tmp_path):
    folder = write_config(tmp_path, dtype="bfloat16")
    model = load_model(folder, vocabulary(shards), overrides={"num_hidden_layers": "1"})
    assert model.dtype == torch.float32 and model.config.num_hidden_layers == 1
    model.save_pretrained(tmp_path)
    assert not has_config_alone(folder)
    AutoModelForMaskedLM.from_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "swishglu"}, "its config.json gives no masked language model"),
        ({"num_attention_heads": 3}, "its config.json gives no masked language model"),
        ({"model_type": "gpt2"}, "gpt2|GPT2"),
        ({"model_type": "nothing"}, "cannot be loaded as a masked language model"),
        ({"max_position_embeddings": 20}, "has positions for 20 tokens"),
    ],
)
def test_an_impossible_configuration_is_one_line(shards, tmp_path, changes, message):
    folder = write_config(tmp_path, **changes)
    with pytest.raises(WholewordError, match=message) as caught:
        load_model(folder, vocabulary(shards))
    assert str(caught.value).startswith(folder) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "file",
    ["pytorch_model.bin", "model-00001-of-00002.safetensors", "model.safetensors.index.json",
     "tf_model.h5"],
)  # fmt: skip
def test_what_has_weights_has_no_config_alone(tmp_path, file):
    folder = write_config(tmp_path)
    assert has_config_alone(folder)
    (tmp_path / file).touch()
    assert not has_config_alone(folder)
    assert not has_config_alone(str(tmp_path / "none")) and not has_config_alone("x" * 5000)
