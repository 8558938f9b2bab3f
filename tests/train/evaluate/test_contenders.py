"""Models that `compare` draws anew: presets of ModernBERT, and folders of a configuration alone."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertModel

from preprocess.errors import WholewordError
from tests.train.model.test_from_nothing import write_config
from tests.train.model.test_load import write_tokenizer
from tests.train.model_zoo import VOCAB
from train.evaluate import contenders
from train.evaluate.contenders import (
    ModelSource,
    find_sources,
    load_source,
    parse_contenders,
    room_for_tokens,
)


@pytest.fixture
def tokenizer(tmp_path):
    return str(write_tokenizer(tmp_path / "tokenizer", VOCAB))


def test_a_modernbert_is_drawn_for_the_tokenizer(tokenizer):
    path = "random:modernbert-tiny"
    source = find_sources(parse_contenders((path,)), tokenizer, False)[path]
    config = load_source(source, 600)[1]
    assert (config.vocab_size, config.cls_token_id, room_for_tokens(config)) == (VOCAB, 2, 600)
    model = AutoModelForSequenceClassification.from_config(config)
    assert model(torch.tensor([[2, 7, 9, 3]])).logits.isfinite().all()


def test_a_configuration_without_weights_is_drawn_only(tokenizer, tmp_path):
    folder = write_config(tmp_path / "model", "modernbert", vocab_size=5000, pad_token_id=4999)
    with pytest.raises(WholewordError, match=f"has no weights; write random:{folder}"):
        find_sources(parse_contenders((folder,)), tokenizer, False)
    path = f"random:{folder}"
    source = find_sources(parse_contenders((path,)), tokenizer, False)[path]
    config = load_source(source, 128)[1]
    assert (source.is_random, config.vocab_size, config.pad_token_id) == (True, VOCAB, 0)


@pytest.mark.parametrize("trust", [True, False])
def test_code_of_a_model_s_own_runs_where_it_is_trusted(monkeypatch, trust):
    given = []

    def from_config(config, **settings):
        given.append(settings["trust_remote_code"])
        return BertModel(config)

    monkeypatch.setattr(contenders.AutoModel, "from_config", from_config)
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    assert room_for_tokens(config, ModelSource("some/model", False, "some/model", trust)) == 512
    assert given == [trust]


def test_a_folder_named_like_a_preset_has_no_say_in_the_preset(tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tokenizer(tmp_path / "bert-tiny", 300)
    path = "random:bert-tiny"
    source = find_sources(parse_contenders((path,)), tokenizer, False)[path]
    assert source.tokenizer == tokenizer
