"""Loading stock models to fit the shards: presets, overrides, vocabularies, new heads."""

import copy
import json
import re

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining, BertTokenizerFast

from preprocess.errors import WholewordError
from tests.train.model_zoo import CONFIGS, DEBERTA, VOCAB, make_model
from train.model.load import load_model
from train.model.packed import prepare_packed
from train.model.shards_vocabulary import Vocabulary
from train.model.vocabulary_check import position_offset


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """The tokenizer folder of shards with VOCAB entries."""
    return write_tokenizer(tmp_path_factory.mktemp("shards"), VOCAB)


def write_tokenizer(folder, size, first="word"):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [f"{first if n == 5 else 'word'}{n}" for n in range(5, size)]
    vocab = {token: n for n, token in enumerate(special + words)}
    BertTokenizerFast(vocab=vocab).save_pretrained(folder)
    return folder


def vocabulary(folder, size=VOCAB, max_length=64):
    return Vocabulary(folder=folder, size=size, pad_id=0, max_length=max_length)


def write_model(folder, config=CONFIGS["bert"], tokenizer=VOCAB, first="word"):
    make_model(config).save_pretrained(folder)
    if tokenizer:
        write_tokenizer(folder, tokenizer, first)
    return str(folder)


def test_preset_takes_the_shards_vocabulary_and_length(shards):
    model = load_model("bert-tiny", vocabulary(shards, max_length=600), overrides={})
    config = model.config
    assert (config.vocab_size, config.num_hidden_layers, config.hidden_size) == (VOCAB, 2, 128)
    assert config.max_position_embeddings == 600
    assert load_model("bert-tiny", vocabulary(shards)).config.max_position_embeddings == 512
    assert model.dtype == torch.float32


def test_seed_decides_new_weights_and_nothing_else(shards):
    state = torch.get_rng_state()
    one, same, other = (
        load_model("bert-tiny", vocabulary(shards), seed=seed).bert.embeddings.word_embeddings
        for seed in (1, 1, 2)
    )
    assert torch.equal(one.weight, same.weight) and not torch.equal(one.weight, other.weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_overrides_are_read_as_the_type_that_they_replace(shards):
    overrides = {"num_hidden_layers": "1", "hidden_dropout_prob": "0.2", "hidden_act": "relu"}
    config = load_model("bert-tiny", vocabulary(shards), overrides=overrides).config
    assert (config.num_hidden_layers, config.hidden_dropout_prob) == (1, 0.2)
    assert config.hidden_act == "relu"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"layers": "2"}, "no value 'layers'"),
        ({"save_pretrained": "2"}, "no value 'save_pretrained'"),
        ({"hidden_size": "wide"}, "hidden_size=wide is not"),
        ({"model_type": "modernbert"}, "architecture cannot be changed"),
        ({"vocab_size": "1000"}, "the vocabulary is the shards'"),
        ({"num_hidden_layers": "-1"}, "must be above 0"),
        ({"hidden_act": "swishglu"}, "gives no model that can be made .*swishglu"),
        ({"hidden_dropout_prob": "7"}, "gives no model that can be made"),
        ({"pad_token_id": "99999"}, "gives no model that can be made"),
        ({"id2label": "x"}, "takes more than one value"),
        ({"bos_token_id": "x"}, "bert models cannot have that"),
        ({"use_return_dict": "true"}, "bert models cannot have that"),
    ],
)
def test_impossible_overrides_are_one_line(shards, overrides, message):
    with pytest.raises(WholewordError, match=message) as caught:
        load_model("bert-tiny", vocabulary(shards), overrides=overrides)
    assert "\n" not in str(caught.value)


def test_an_override_of_nothing_is_read_as_what_it_looks_like(shards):
    model = load_model("bert-tiny", vocabulary(shards), overrides={"classifier_dropout": "0.25"})
    assert model.config.classifier_dropout == 0.25


@pytest.mark.parametrize(
    ("key", "value"),
    [("hidden_act", "swishglu"), ("num_attention_heads", 3), ("num_attention_heads", 0),
     ("hidden_size", "wide"), ("num_hidden_layers", None), ("pad_token_id", 99999)],
)  # fmt: skip
def test_an_impossible_configuration_is_one_line(shards, tmp_path, key, value):
    name = write_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(WholewordError, match="cannot be loaded as a masked language") as caught:
        load_model(name, vocabulary(shards))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kept", "shards_of"), [(0, 1), (20, 1), (-8, 1), (-8, 2)])
def test_a_damaged_file_of_weights_is_named(shards, tmp_path, kept, shards_of):
    size = "1KB" if shards_of > 1 else "1GB"
    make_model(CONFIGS["bert"]).save_pretrained(tmp_path, max_shard_size=size)
    write_tokenizer(tmp_path, VOCAB)
    file = sorted(tmp_path.glob("*.safetensors"))[-1]
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(WholewordError) as caught:
        load_model(str(tmp_path), vocabulary(shards))
    assert re.fullmatch(
        rf"{re.escape(str(file))}: is damaged or incomplete \(.+\); copy it again",
        str(caught.value),
    )


@pytest.mark.parametrize("kept", [0, 1000, -8])
def test_a_damaged_pickle_of_weights_is_named(shards, tmp_path, kept):
    make_model(CONFIGS["bert"]).config.save_pretrained(tmp_path)
    write_tokenizer(tmp_path, VOCAB)
    file = tmp_path / "pytorch_model.bin"
    torch.save(make_model(CONFIGS["bert"]).state_dict(), file)
    load_model(str(tmp_path), vocabulary(shards))
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(WholewordError) as caught:
        load_model(str(tmp_path), vocabulary(shards))
    assert str(caught.value) == f"{file}: is damaged or incomplete; copy it again"


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_pointer_of_git_lfs_is_no_file_of_weights(shards, tmp_path, name):
    make_model(CONFIGS["bert"]).config.save_pretrained(tmp_path)
    write_tokenizer(tmp_path, VOCAB)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 411577189\n"
    (tmp_path / name).write_text(pointer)
    with pytest.raises(WholewordError, match=r"is a pointer of Git LFS, .* `git lfs pull`"):
        load_model(str(tmp_path), vocabulary(shards))


@pytest.mark.parametrize("name", [*CONFIGS, "deberta"])
def test_a_new_head_is_said(shards, tmp_path, name):
    config = DEBERTA if name == "deberta" else CONFIGS[name]
    whole = write_model(tmp_path / "whole", config)
    make_model(config).base_model.save_pretrained(tmp_path / "encoder")
    write_tokenizer(tmp_path / "encoder", VOCAB)
    for folder, expected in ((whole, 0), (str(tmp_path / "encoder"), 1)):
        notes = []
        load_model(folder, vocabulary(shards, max_length=62), notes=notes)
        assert len(notes) == expected
    assert "masked-LM head is new" in notes[0] and "\n" not in notes[0]


def test_a_new_head_for_pairs_is_said(shards, tmp_path):
    notes = []
    load_model(write_model(tmp_path), vocabulary(shards), pairs=True, notes=notes)
    assert len(notes) == 1 and "head for sentence pairs is new" in notes[0]


def test_checkpoint_round_trip(shards, tmp_path):
    name = write_model(tmp_path)
    model = load_model(name, vocabulary(shards))
    expected = make_model(CONFIGS["bert"]).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


def test_prepared_model_is_saved_as_a_stock_one(shards, tmp_path):
    model = load_model("bert-tiny", vocabulary(shards))
    prepare_packed(model)
    model.save_pretrained(tmp_path)
    assert "wholeword" not in (tmp_path / "config.json").read_text()
    assert BertForMaskedLM.from_pretrained(tmp_path).config._attn_implementation == "sdpa"


def test_extra_ids_at_the_end_resize_the_model(tmp_path):
    name = write_model(tmp_path / "model")
    folder = write_tokenizer(tmp_path / "shards", VOCAB + 3)
    model = load_model(name, vocabulary(folder, VOCAB + 3))
    weight = model.get_input_embeddings().weight
    assert len(weight) == model.config.vocab_size == VOCAB + 3
    assert model.get_output_embeddings().weight is weight
    assert torch.equal(weight[:VOCAB], make_model(CONFIGS["bert"]).get_input_embeddings().weight)


def test_padded_embeddings_are_kept(shards, tmp_path):
    config = copy.deepcopy(CONFIGS["bert"])
    config.vocab_size = 64
    name = write_model(tmp_path, config)
    assert load_model(name, vocabulary(shards)).config.vocab_size == 64


@pytest.mark.parametrize(
    ("size", "first", "message"),
    [(VOCAB, "other", "id 5 is 'other5'.*is 'word5'"), (VOCAB + 4, "word", "id 60.*not exist")],
)
def test_another_vocabulary_is_refused(shards, tmp_path, size, first, message):
    config = copy.deepcopy(CONFIGS["bert"])
    config.vocab_size = size
    name = write_model(tmp_path, config, size, first)
    with pytest.raises(WholewordError, match=message):
        load_model(name, vocabulary(shards))


@pytest.mark.parametrize(("entries", "fits"), [(60, True), (64, True), (128, True), (61, False)])
def test_model_without_tokenizer_must_have_the_size(shards, tmp_path, entries, fits):
    config = copy.deepcopy(CONFIGS["bert"])
    config.vocab_size = entries
    name = write_model(tmp_path, config, tokenizer=0)
    if fits:
        assert load_model(name, vocabulary(shards)).config.vocab_size == entries
    else:
        with pytest.raises(WholewordError, match="no tokenizer files"):
            load_model(name, vocabulary(shards))


@pytest.mark.parametrize(("name", "room"), [("bert", 64), ("roberta", 62)])
def test_rows_longer_than_the_positions_are_refused(shards, tmp_path, name, room):
    model = write_model(tmp_path, CONFIGS[name], tokenizer=0)
    assert position_offset(load_model(model, vocabulary(shards, max_length=room))) == 64 - room
    with pytest.raises(WholewordError, match=f"positions for {room} tokens.*--max-length {room}"):
        load_model(model, vocabulary(shards, max_length=room + 1))


def test_pairs_need_bert(shards, tmp_path):
    assert isinstance(load_model("bert-tiny", vocabulary(shards), pairs=True), BertForPreTraining)
    name = write_model(tmp_path, CONFIGS["roberta"])
    with pytest.raises(WholewordError, match="only BERT"):
        load_model(name, vocabulary(shards), pairs=True)


def missing(folder):
    return str(folder / "nothing")


def no_config(folder):
    return str(folder)


def no_shard(folder):
    name = write_model(folder)
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"bert.pooler.dense.bias": "model-1-of-1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return name


def other_shapes(folder):
    name = write_model(folder)
    config = BertConfig.from_pretrained(folder)
    config.hidden_size = 64
    config.save_pretrained(folder)
    return name


def other_architecture(folder):
    name = write_model(folder, CONFIGS["distilbert"])
    CONFIGS["roberta"].save_pretrained(folder)
    return name


@pytest.mark.parametrize(
    "make",
    [missing, no_config, no_shard, other_shapes, other_architecture],
    ids=lambda f: f.__name__,
)
def test_model_that_cannot_be_loaded_is_one_line(shards, tmp_path, make):
    with pytest.raises(WholewordError) as caught:
        load_model(make(tmp_path), vocabulary(shards))
    message = str(caught.value)
    assert message.startswith(str(tmp_path)) and "\n" not in message
    assert re.search(r"give a preset \(bert-tiny, .*model\.safetensors", message)


def test_an_absent_hub_is_asked_once(monkeypatch, shards, tmp_path):
    asked = []
    monkeypatch.setattr("train.model.load.hub_answers", lambda: asked.append(1) and False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WholewordError, match="some/model"):
        load_model("some/model", vocabulary(shards))
    assert asked == [1]
