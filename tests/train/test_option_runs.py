"""Every option of the trainer that changes what a run does, in real runs; and what it refuses."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from transformers import AutoModelForMaskedLM

from tests.train import runs
from tests.train.option_runs import ADDED, SCHEDULES, VOCABULARY
from train.engine.checkpoint import find_damage
from train.engine.schedules import Schedule

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder of all runs, and of each what it left: status, output, errors."""
    folder = tmp_path_factory.mktemp("options")
    said = runs.run_module("tests.train.option_runs", str(folder))
    return folder, json.loads(said)


def weights(folder):
    return load_file(folder / "final" / "model.safetensors")


def test_report_to_none_writes_metrics_and_no_tensorboard(done):
    folder, found = done
    assert found["plain"][0] == 0 and found["plain"][2] == "", found["plain"]
    assert len(runs.losses(folder / "plain")) == 4
    assert not (folder / "plain" / "tensorboard").exists()
    assert (folder / "early" / "tensorboard").exists()


def test_recomputed_activations_change_nothing(done):
    folder, found = done
    assert found["recomputed"][0] == 0 and found["recomputed"][2] == ""
    assert runs.losses(folder / "recomputed") == runs.losses(folder / "plain")


def test_time_saves_and_stops(done):
    folder, found = done
    status, output, _ = found["timed"]
    assert status == 0
    assert "the time is over" in output
    assert len(list((folder / "timed" / "checkpoints").glob("step-*"))) >= 2
    assert not (folder / "timed" / "final").exists()


def test_patience_ends_a_run_and_is_not_forgotten(done):
    """A run that was killed between its last checkpoint and its final model does not go on."""
    folder, found = done
    for name in ("early", "early again"):
        status, output, _ = found[name]
        assert status == 0
        assert "stopped early: no lower loss in the last 2 validations" in output
        assert "finished after 2 steps" in output
    assert len(runs.losses(folder / "early")) == 2
    assert len(runs.records(folder / "early", "validation")) == 3


def test_validation_rows_are_limited(done):
    masked = [
        runs.records(done[0] / name, "validation")[0]["masked"] for name in ("few rows", "early")
    ]
    assert 0 < masked[0] < masked[1] / 2


def test_a_warming_batch_size_resumes_in_the_middle(done):
    folder, found = done
    assert "(step 2 of 4)" in found["resumed"][1]
    assert runs.losses(folder / "resumed") == runs.losses(folder / "warmed")
    expected = weights(folder / "warmed")
    for name, value in weights(folder / "resumed").items():
        assert np.array_equal(value, expected[name]), name


@pytest.mark.parametrize("objective", ["sentence-order", "next-sentence"])
def test_pair_objectives_train_a_head_of_their_own(done, objective):
    folder, found = done
    status, output, _ = found[objective]
    assert status == 0
    assert ", pair loss 0." in output
    assert all(
        0.1 < record["pair_loss"] < 2 for record in runs.records(folder / objective, "train")
    )
    assert "cls.seq_relationship.weight" in weights(folder / objective)
    assert "pair_loss" not in runs.records(folder / "plain", "train")[0]


@pytest.mark.parametrize("kind", SCHEDULES)
def test_schedules_are_followed(done, kind):
    schedule = Schedule(kind, 1e-2, 1, 10)
    rates = [record["learning_rate"] for record in runs.records(done[0] / kind, "train")]
    assert rates == pytest.approx([schedule(step) for step in range(10)])
    assert rates[-1] < rates[1]


@pytest.mark.parametrize("stage", range(4))
def test_a_diverged_run_names_the_step_and_keeps_the_checkpoint_before(done, stage):
    folder, found = done
    status, output, errors = found[f"diverged{stage}"]
    kept = folder / f"diverged{stage}" / "checkpoints" / "step-00000001"
    assert status == 1
    assert errors.startswith("error: step 2: the loss or its gradient is not a number; lower")
    assert errors.endswith(f"(the last good checkpoint is {kept})\n")
    assert errors.count("\n") == 1
    assert find_damage(kept) is None
    assert [path.name for path in kept.parent.glob("step-*")] == [kept.name]
    assert "pair loss" not in output
    assert not (folder / f"diverged{stage}" / "final").exists()


@pytest.mark.parametrize("stage", range(4))
def test_a_larger_vocabulary_resizes_the_model_and_tied_weights_stay_tied(done, stage):
    folder, found = done
    run = folder / f"grown{stage}"
    assert found[f"grown{stage}"][0] == 0, found[f"grown{stage}"]
    np.testing.assert_allclose(runs.losses(run), runs.losses(folder / "grown0"), rtol=2e-5)
    stored = weights(run)
    assert "cls.predictions.decoder.weight" not in stored  # one copy of what is tied
    name = "bert.embeddings.word_embeddings.weight"
    before = weights(folder / "plain")[name]
    assert stored[name].shape == (VOCABULARY + ADDED, before.shape[1])
    assert not np.array_equal(stored[name][:VOCABULARY], before)
    model = AutoModelForMaskedLM.from_pretrained(run / "final")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.config.vocab_size == VOCABULARY + ADDED
    assert model.get_output_embeddings().bias.shape == (VOCABULARY + ADDED,)


REFUSED = {
    "misspelt": 'misspelt.json: DeepSpeed knows no key "zero_optimisation" here; write "zero_opt',
    "inner": 'inner.json: "zero_optimization.stagee": no such key; compare',
    "lamb": 'lamb.json: Lamb has no CPU version; write "AdamW"',
    "preset": "--model bert-tinny: neither a preset nor a folder that is here; write bert-tiny",
    "plain with a misspelt preset": "--model bert-tinny: neither",
    "of a run": "plain: is the folder of a run; its model is ",
    "no wandb": "--report-to wandb: Weights & Biases is not installed; pip install wandb",
    "no pairs": "--sentence-order: the shards leave no room",
    "positions": "bert-tiny: has positions for 20 tokens, rows of the shards may have 32; build",
    "vocabulary": "id 8000 is 'added0' in the model's vocabulary and does not exist in the shards'",
    "on flipped": "data-00000-of-00002.arrow: record batch at byte ",
    "on truncated": "it was truncated or replaced; build the shards again",
    "on unindexed": "index.arrow: cannot be read (No such file or directory); run `python -m",
    "on empty": "empty holds no finished shards; run `python -m preprocess build-shards`",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_one_line(done, name):
    status, _, errors = done[1][name]
    assert status == 1
    assert REFUSED[name] in errors
    assert errors.startswith("error: ") and errors.count("\n") == 1
