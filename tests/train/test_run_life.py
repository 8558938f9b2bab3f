"""A run's folder through its life: extended, stopped, refused, on other data, on a full disk."""

import json
import re

import numpy as np
import pytest

from tests.train import runs
from tests.train.life_runs import HEAD_STAGES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    said = runs.run_module("tests.train.life_runs", str(tmp_path_factory.mktemp("life")))
    return json.loads(said)


def refused(run, *words):
    assert run["status"] == 1, run["output"] + run["error"]
    assert run["error"].count("\n") == 1, run["error"]
    for word in words:
        assert word in run["error"]


def finished(run, step):
    assert run["status"] == 0, run["error"]
    assert run["final"] == {"step": step, "finished": True}
    assert run["saved"]["step"] == len(run["losses"]) == step


def test_an_extension_that_stopped_is_not_finished(found):
    finished(found["six"], 6)
    assert "this run is finished" in found["six again"]["output"]
    stopped = found["stopped at seven"]
    assert (stopped["saved"]["step"], stopped["final"]["step"]) == (7, 6)
    assert "the same command continues this run" in stopped["output"]
    finished(found["twelve"], 12)
    assert "continues from" in found["twelve"]["output"]
    assert "this run is finished" in found["twelve again"]["output"]


def test_a_run_that_has_passed_its_end_is_not_finished_again(found):
    refused(found["back to six"], "holds a run of 12 steps", "end at step 6", "larger --max-steps")
    assert found["back to six"]["final"]["step"] == 12


@pytest.mark.parametrize("case", ["no validation part", "no validation rows"])
def test_without_validation_rows_a_run_says_so_and_trains(found, case):
    run = found[case]
    finished(run, 4)
    assert "no validation: " in run["output"]
    assert "validation perplexity" not in run["output"]


def test_patience_needs_validation_rows(found):
    refused(found["patience without rows"], "has no validation rows", "--early-stopping-patience 2")


def test_other_hyperparameters_are_refused_by_name(found):
    words = ("max_grad_norm: 1.0 -> 0.05", "'eps': 1e-06", "weight_decay: 0.01 -> 0.3")
    refused(found["changes refused"], *words)


def test_other_hyperparameters_are_used_on_every_layout(found):
    same, moved = (found[f"changes on {kind} layout"] for kind in ("the same", "another"))
    plain = found["without changes"]
    for run in (same, moved, plain):
        finished(run, 8)
    np.testing.assert_allclose(same["losses"], moved["losses"], rtol=1e-6)
    assert same["losses"][:5] == plain["losses"][:5] == found["clipped"]["losses"][:5]
    assert not np.allclose(found["clipped"]["losses"][5:], plain["losses"][5:], rtol=1e-6)
    assert not np.allclose(same["losses"][5:], plain["losses"][5:], rtol=1e-6)


def test_the_closing_line_is_of_this_data_and_of_this_run(found):
    """It begins with a score of the data that it ends with."""
    for name in ("first data", "other data"):
        output = found[name]["output"]
        scores = re.findall(r"validation loss [\d.]+, perplexity ([\d.e+]+)", output)
        assert len(scores) == 2, output
        assert f"validation perplexity {scores[0]} -> {scores[1]}" in output
    finished(found["other data, not validated"], 70)
    assert "validation perplexity" not in found["other data, not validated"]["output"]


def test_other_data_is_read_from_its_beginning_to_its_end(found):
    refused(found["other data refused"], "shards: ", "--model ", "/final --output-dir NEW")
    first, alone = (found[case]["saved"]["step"] for case in ("first data", "other data alone"))
    run = found["other data"]
    finished(run, first + alone)
    assert run["saved"]["data_step"] == first
    assert f"other shards than before; they are read from step {first} on" in run["output"]
    assert run["saved"]["cursor"] == found["other data alone"]["saved"]["cursor"]


def test_a_run_goes_on_with_shards_that_have_grown(found):
    finished(found["before text is added"], 4)
    refused(found["text was added, refused"], "shards: ", "--allow-changes")
    run = found["text was added"]
    finished(run, 7)
    assert (
        "text was added to the shards; all rows, old and new, in one new order, are read from "
        "step 4 on" in run["output"]
    )
    assert run["saved"]["data_step"] == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model_type=modernbert", "architecture cannot be changed"),
        ("vocab_size=1000", "the vocabulary is the shards'"),
        ("hidden_size=100,num_attention_heads=3", "not a multiple"),
        ("hidden_act=swishglu", "'swishglu'"),
        ("num_hidden_layers=-1", "must be above 0"),
        ("num_attention_heads=0", "must be above 0"),
        ("hidden_size=abc", "hidden_size=abc"),
        ("intermediate_size=1e99", "intermediate_size=1e99"),
        ("max_position_embeddings=0", "must be above 0"),
        ("nonsense=1", "no value 'nonsense'"),
    ],
)
def test_impossible_overrides_are_one_line(found, text, words):
    refused(found[f"overrides {text}"], words)


@pytest.mark.parametrize("file", ["options.json", "metrics.jsonl", "final"])
def test_a_full_disk_is_one_line_and_the_next_start_goes_on(found, file):
    refused(found[f"full at {file}"], "No space left on device", "make room and run the same")
    finished(found[f"room again at {file}"], 4)
    assert not [name for name in found[f"full at {file}"]["files"] if name.endswith(".tmp")]


@pytest.mark.parametrize("size", ["4k", "5m"])
def test_a_disk_that_is_full_is_one_line_and_the_next_start_goes_on(found, size):
    if f"disk of {size}" not in found:
        pytest.skip("mounting a small file system is not permitted here")
    refused(found[f"disk of {size}"], "No space left on device", "make room and run the same")
    finished(found[f"disk of {size}, larger"], 4)


def test_another_order_begins_the_epoch_again(found):
    before, run = found["seed before"], found["seed changed"]
    finished(run, 6)
    assert "those of the present epoch come again" in run["output"]
    assert before["saved"]["cursor"]["pack"] == 2
    assert run["saved"]["cursor"]["pack"] == 4


def test_packs_of_another_size_begin_the_window_again(found):
    refused(found["size changed, epochs"], "2 steps of another size", "with --max-steps")
    run = found["size changed"]
    finished(run, 6)
    assert "those of the present window come again" in run["output"]
    assert run["saved"]["cursor"]["pack"] == 4


def test_packs_do_not_become_padded_batches_unasked(found):
    refused(found["padded refused"], "a run on packs", "would take padded batches")
    finished(found["padded"], 6)
    assert found["padded"]["saved"]["packed"] is False
    assert "those of the present window come again" in found["padded"]["output"]


@pytest.mark.parametrize("stage", HEAD_STAGES)
def test_what_is_new_is_trained_alone_first(found, stage):
    """A head, and two entries of the vocabulary."""
    whole, half, rest = (found[f"{name} {stage}"] for name in ("new head", "half", "other half"))
    finished(whole, 4)
    assert "the masked-LM head is new: " in whole["output"]
    assert "head warm-up: the first 2 steps train what is new" in whole["output"]
    assert (
        "head is new" not in found["six"]["output"] and "head warm-up" not in found["six"]["output"]
    )
    assert half["final"] == {"step": 2, "finished": False}
    assert half["changed"] == []
    finished(rest, 4)
    assert "embeddings.word_embeddings.weight" in rest["changed"]
    assert "encoder.layer.0.attention.self.query.weight" in rest["changed"]
    assert rest["losses"] == whole["losses"]
    if stage != 2:
        moved = found[f"half of 2, on in {stage}"]
        finished(moved, 4)
        assert "converts " in moved["output"]
        np.testing.assert_allclose(moved["losses"], whole["losses"], rtol=1e-6)


def test_the_model_of_the_lowest_loss_is_kept(found):
    improving, worsening = found["improving"], found["worsening"]
    finished(improving, 4)
    assert improving["kinds"] == [
        [step, kind] for step in (0, 2, 4) for kind in ("law", "validation")
    ]
    assert (improving["best"]["step"], improving["best is final"]) == (4, True)
    assert (worsening["best"]["step"], worsening["best is final"]) == (0, False)
    loss = worsening["best"]["loss"]
    assert f"the lowest law loss, {loss:.4f}: " in worsening["output"]
    finished(found["no rows of its own"], 4)
    refused(found["no other rows"], "tiny: has no validation rows for --validation-data tiny")
    refused(found["no rows to decide"], "no validation rows for --metric-for-best-model validation")


def test_a_mixture_goes_on_where_it_stopped(found):
    mixed = found["mixed"]
    finished(mixed, 12)
    assert "shards + " in mixed["output"]
    assert "shards 75.0% of the tokens, read " in mixed["output"]
    for loss, *parts in mixed["by dataset"]:
        assert parts[1] + parts[3] == pytest.approx(1)
        assert min(parts[::2]) <= loss * 1.0001 or 0 in parts
    assert found["mixed, stopped"]["saved"]["cursor"]["others"][0]["tokens"] > 0
    finished(found["mixed, to its end"], 12)
    assert found["mixed, to its end"]["losses"] == mixed["losses"]
    refused(found["other weights"], "data_weights: [3.0, 1.0] -> [1.0, 1.0]")
    finished(found["other weights, changed"], 16)


def test_a_curve_that_cannot_be_drawn_is_drawn_later(found):
    run = found["full at curves.png"]
    finished(run, 4)
    assert "curves.png: cannot be drawn (No space left on device)" in run["output"]
    assert "curves.png" not in run["files"]
    again = found["room again at curves.png"]
    assert "this run is finished" in again["output"]
    assert "curves.png" in again["files"]


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_final_model_is_loaded_in_fp32(found, stage):
    finished(found[f"bf16 {stage}"], 2)
    assert found[f"bf16 {stage}"]["dtype"] == "torch.float32"


@pytest.mark.parametrize("case", ["fp32 0", "bf16 1", "bf16 2", "bf16 3"])
def test_the_mean_of_a_checkpoint_is_its_model(found, case):
    assert found[case]["checkpoint is final"] is True


def test_another_tokenizer_than_the_shards_is_refused(found):
    refused(found["another tokenizer"], "tokenizer.json: differs from what the manifest says")


def test_a_stopped_run_leaves_a_model_where_it_is_asked_for(found):
    run = found["stopped with a model"]
    assert run["status"] == 0
    assert run["final"] == {"step": 2, "finished": False}
    assert "the model so far: " in run["output"]
    finished(found["its end"], 4)


def test_an_option_given_twice_is_refused(found):
    refused(found["given twice"], "--masking is given 2 times")


def test_intervals_beyond_the_end_are_said(found):
    run = found["intervals"]
    finished(run, 4)
    assert "--eval-steps 500: the run has 4 steps" in run["output"]
    assert "--save-steps 500: the run has 4 steps" in run["output"]
