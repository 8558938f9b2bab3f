"""Scores against a plain computation on the same masks, and the frequency baseline."""

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import BertConfig, BertForMaskedLM

from tests.train.shard_factory import ShardSpec, make_shards
from train.data.loader import evaluation_batches
from train.data.shard_dataset import ShardDataset
from train.data.windows import LoaderOptions
from train.engine.process_group import Ranks
from train.evaluate.evaluation import evaluate, format_perplexity, perplexity, token_frequencies
from train.model.packed import prepare_padded

VOCABULARY = 60
ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.fixture
def shards(tmp_path):
    rows = make_shards(tmp_path, ShardSpec(rows=(60, 40), max_length=24, vocab_size=VOCABULARY))
    return tmp_path, rows


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        initializer_range=1.0,
    )
    return BertForMaskedLM(config)


def test_frequencies_are_smoothed_counts(shards):
    folder, rows = shards
    ids = np.concatenate([part.ids for part in rows["train"]])
    counts = np.bincount(ids, minlength=VOCABULARY) + 1
    found = token_frequencies(ShardDataset(folder, "train"))
    np.testing.assert_allclose(found, np.log(counts / counts.sum()))


def test_scores_equal_a_plain_computation(shards, model):
    folder, _ = shards
    dataset = ShardDataset(folder, "validation")
    options = LoaderOptions(micro_batch_size=3, max_length=24, layout="padded")
    table = token_frequencies(ShardDataset(folder, "train"))
    losses, right, words, unigram, common = [], [], [], [], []
    model.eval()
    for batch in evaluation_batches(dataset, options):
        mask = torch.from_numpy(batch.attention_mask)
        logits = model(torch.from_numpy(batch.input_ids), attention_mask=mask).logits.detach()
        chosen = logits.reshape(-1, VOCABULARY)[torch.from_numpy(batch.positions)]
        labels = torch.from_numpy(batch.labels)
        losses += functional.cross_entropy(chosen, labels, reduction="none").tolist()
        hits = (chosen.argmax(-1) == labels).numpy()
        right += hits.tolist()
        words += [hits[batch.words == word].all() for word in np.unique(batch.words)]
        unigram += (-table[batch.labels]).tolist()
        common += (batch.labels == table.argmax()).tolist()
    prepare_padded(model)
    scores = evaluate(model, evaluation_batches(dataset, options), table, ALONE)
    assert scores.masked == len(losses) > 30
    assert scores.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert scores.accuracy == pytest.approx(np.mean(right))
    assert scores.word_accuracy == pytest.approx(np.mean(words))
    assert scores.unigram_loss == pytest.approx(np.mean(unigram))
    assert scores.commonest_share == pytest.approx(np.mean(common))
    again = evaluate(model, evaluation_batches(dataset, options), table, ALONE)
    assert again == scores


def test_an_interrupted_evaluation_has_no_scores(shards, model):
    folder, _ = shards
    dataset = ShardDataset(folder, "validation")
    options = LoaderOptions(micro_batch_size=3, max_length=24, layout="padded")
    prepare_padded(model)
    model.train()
    table = np.zeros(VOCABULARY)
    batches = evaluation_batches(dataset, options)
    assert evaluate(model, batches, table, ALONE, lambda: True) is None
    assert model.training


def test_a_perplexity_for_people_is_short():
    assert format_perplexity(8046.31) == "8046.3"
    assert format_perplexity(perplexity(1e9)) == "1.0e+304"
