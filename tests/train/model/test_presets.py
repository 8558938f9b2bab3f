"""ModernBERT's presets: published shapes, the shards' ids, windows that follow the layers."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, ModernBertConfig, pipeline

from preprocess.encode.tokenizer import load_tokenizer
from preprocess.errors import WholewordError
from tests.train.model.test_load import write_tokenizer
from tests.train.model.test_packed import assert_same_training, plain_training
from tests.train.model_zoo import VOCAB, make_pack
from train.model.flops import FlopCounter
from train.model.load import load_model
from train.model.packed import can_pack, prepare_packed
from train.model.presets import PRESETS, preset_config
from train.model.shards_vocabulary import Vocabulary, tokenizer_vocabulary

TINY = "modernbert-tiny"


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    folder = write_tokenizer(tmp_path_factory.mktemp("shards"), VOCAB)
    return tokenizer_vocabulary(load_tokenizer(str(folder)), 700)


@pytest.mark.parametrize(
    ("name", "millions"),  # of the published models, by their pages
    [("modernbert-base", 149.7), ("modernbert-large", 395.9), ("modernbert-small", 68.5)],
)
def test_published_sizes(tmp_path, name, millions):
    published = Vocabulary(tmp_path, 50368, 50283, 8192, 50281, 50282)
    config = preset_config(name, published)
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(config)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.1)
    biases = [key for key, _ in model.named_parameters() if key.endswith("bias")]
    assert biases == ["decoder.bias"]
    if name == "modernbert-base":  # transformers' defaults are those of that model
        stock = ModernBertConfig(global_attn_every_n_layers=3, classifier_pooling="mean")
        assert config.to_dict() == stock.to_dict()


def test_ids_and_positions_are_the_shards(vocabulary):
    config = preset_config(TINY, vocabulary)
    assert (config.pad_token_id, config.vocab_size, config.max_position_embeddings) == (0, 60, 700)
    assert (config.cls_token_id, config.bos_token_id) == (2, 2)
    assert (config.sep_token_id, config.eos_token_id) == (3, 3)
    bare = preset_config(TINY, Vocabulary(vocabulary.folder, VOCAB, 0, 64))
    assert bare.cls_token_id is bare.sep_token_id is bare.eos_token_id is bare.bos_token_id is None
    assert bare.max_position_embeddings == 512


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_made_and_counted(vocabulary, name):
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(preset_config(name, vocabulary))
    counter = FlopCounter(model)
    assert len(counter.windows) == PRESETS[name].layers
    assert {65 if name.startswith("modern") else None, None} == set(counter.windows)
    assert counter.count(np.array([300]), 0) > 0


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, "gllg"),
        ({"num_hidden_layers": "2"}, "gl"),
        ({"num_hidden_layers": "6"}, "gllgll"),
        ({"global_attn_every_n_layers": "2"}, "glgl"),
        ({"num_hidden_layers": "3", "global_attn_every_n_layers": "1"}, "ggg"),
    ],
)
def test_windows_follow_overrides_and_the_model_is_saved(vocabulary, tmp_path, overrides, expected):
    model = load_model(TINY, vocabulary, overrides=overrides)
    prepare_packed(model)
    kinds = "".join(
        "g" if layer.attn.sliding_window is None else "l" for layer in model.model.layers
    )
    assert kinds == expected == "".join("l" if w else "g" for w in FlopCounter(model).windows)
    model.save_pretrained(tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert again.config.layer_types == model.config.layer_types


def test_windows_of_a_folder_follow_overrides(vocabulary, tmp_path):
    load_model(TINY, vocabulary).save_pretrained(tmp_path)
    model = load_model(str(tmp_path), vocabulary, overrides={"num_hidden_layers": "2"})
    assert len(FlopCounter(model).windows) == 2


def test_an_impossible_override_is_one_line(vocabulary):
    with pytest.raises(WholewordError, match="takes more than one value"):
        load_model(TINY, vocabulary, overrides={"rope_parameters": "1"})
    with pytest.raises(WholewordError, match="gives no model that can be made"):
        load_model(TINY, vocabulary, overrides={"num_attention_heads": "3"})


def test_a_saved_model_fills_masks(vocabulary, tmp_path):
    """With BERT's tokenizer too, which makes token types that a ModernBERT has no use for."""
    model = load_model(TINY, vocabulary)
    prepare_packed(model)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(vocabulary.folder).save_pretrained(tmp_path)
    found = pipeline("fill-mask", model=str(tmp_path))("word7 [MASK] word9")
    assert len(found) == 5 and found[0]["score"] > 0


def test_it_is_packed(vocabulary):
    assert can_pack(load_model(TINY, vocabulary))


@pytest.mark.parametrize("theirs", ["eager", "sdpa"])
def test_rows_longer_than_the_window_train_as_padded_ones(vocabulary, theirs):
    """One row more than twice the window and cut into tiles, one a little longer, one shorter."""
    model = load_model(TINY, vocabulary, overrides={"initializer_range": "0.1"}).train()
    model.set_attn_implementation(theirs)
    batch = make_pack([330, 150, 67, 20], model=model)
    expected = plain_training(model, batch)
    prepare_packed(model)
    assert_same_training(model, expected, batch)
