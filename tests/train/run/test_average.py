"""Means of models, against means of their arrays."""

import errno
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    PreTrainedTokenizerBase,
)
from typer.testing import CliRunner

from preprocess.errors import WholewordError
from tests.preprocess.support import invoke
from tests.train.runs import ROOT
from train.cli import app
from train.run.average import average

SIZE = {"vocab_size": 8000, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three models of one kind, the encoder of another, and one of another size."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("a", "b", "c")):
        torch.manual_seed(seed)
        BertForMaskedLM(BertConfig(**SIZE, intermediate_size=16)).save_pretrained(folder / name)
        shutil.copytree(ROOT / "samples" / "tokenizer", folder / name, dirs_exist_ok=True)
    BertModel(BertConfig(**SIZE, intermediate_size=16)).save_pretrained(folder / "encoder")
    BertForMaskedLM(BertConfig(**SIZE, intermediate_size=8)).save_pretrained(folder / "small")
    smaller = SIZE | {"vocab_size": 7990}
    BertForMaskedLM(BertConfig(**smaller, intermediate_size=16)).save_pretrained(folder / "before")
    return folder


def arrays(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("weights", [[], [1.0, 1.0, 1.0], [5.0, 0.5, 2.5]])
def test_the_mean_is_that_of_the_arrays(models, tmp_path, weights):
    paths = [str(models / name) for name in "abc"]
    made = average(paths, weights, tmp_path / "mean")
    shares = np.array(weights or [1.0] * 3) / sum(weights or [1.0] * 3)
    parts = [arrays(models / name) for name in "abc"]
    for key, found in arrays(tmp_path / "mean").items():
        wanted = sum(s * p[key].astype(np.float64) for s, p in zip(shares, parts, strict=True))
        np.testing.assert_array_equal(found, wanted.astype(np.float32), err_msg=key)
    assert made.parameters == sum(v.size for v in arrays(tmp_path / "mean").values())
    note = json.loads((tmp_path / "mean" / "wholeword.json").read_text())
    assert note["models"] == paths and note["weights"] == shares.tolist()
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "mean")
    assert model.dtype == torch.float32
    assert (tmp_path / "mean" / "tokenizer.json").exists()


def test_a_model_between_the_base_and_the_mean(models, tmp_path):
    half = average([str(models / "a")], [], tmp_path / "half", str(models / "b"), 0.25)
    assert half.new_in_base == []
    a, b = arrays(models / "a"), arrays(models / "b")
    for key, found in arrays(half.folder).items():
        np.testing.assert_allclose(found, 0.25 * a[key] + 0.75 * b[key], atol=1e-7, err_msg=key)


def test_what_the_base_lacks_is_the_means(models, tmp_path):
    made = average([str(models / "a")], [], tmp_path / "out", str(models / "encoder"), 0.5)
    head = [key for key in made.new_in_base if key.startswith("cls.")]
    assert head and made.new_in_base == head
    a, base = arrays(models / "a"), arrays(models / "encoder")
    found = arrays(made.folder)
    for key in head:
        if key in found:
            np.testing.assert_array_equal(found[key], a[key])
    word = "embeddings.word_embeddings.weight"
    mean = (a[f"bert.{word}"].astype(np.float64) + base[word]) / 2
    np.testing.assert_allclose(found[f"bert.{word}"], mean, rtol=1e-6)
    grown = average([str(models / "a")], [], tmp_path / "grown", str(models / "before"), 0.0)
    rows = arrays(grown.folder)[f"bert.{word}"]
    np.testing.assert_array_equal(rows[7990:], a[f"bert.{word}"][7990:])
    np.testing.assert_array_equal(rows[:7990], arrays(models / "before")[f"bert.{word}"])


def test_models_of_two_sizes_are_refused(models, tmp_path):
    with pytest.raises(
        WholewordError, match=r"small: bert\.encoder.+ is \[8.*average models of one"
    ):
        average([str(models / "a"), str(models / "small")], [], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("weights", "cause"),
    [
        ([1.0], "a weight for each model, 2"),
        ([1.0, -1.0], "numbers above 0"),
        ([0.0, 0.0], "above 0"),
    ],
)
def test_weights_that_make_no_mean(models, tmp_path, weights, cause):
    with pytest.raises(WholewordError, match=cause):
        average([str(models / "a"), str(models / "b")], weights, tmp_path / "out")


def test_the_folder_of_a_run_is_said_to_be_one(models, tmp_path):
    for words in ([], ["--interpolate"]):
        run = tmp_path / f"run{len(words)}"
        (run / "final").mkdir(parents=True)
        result = invoke("average", models / "a", *words, run, "-o", tmp_path / "out", app=app)
        result.assert_one_line(f"{run}: is the folder of a run; its model is {run / 'final'}")


def test_nothing_is_written_over(models, tmp_path):
    with pytest.raises(WholewordError, match="is there already"):
        average([str(models / "a")], [], tmp_path)


@pytest.mark.parametrize("weights", [["3", "1"], ["3,1"]])
def test_the_command(models, tmp_path, weights):
    words = ["average", str(models / "a"), str(models / "b"), "--weights", *weights]
    result = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["model"] == str(tmp_path / "out")
    a, b, found = arrays(models / "a"), arrays(models / "b"), arrays(tmp_path / "out")
    key = "bert.pooler.dense.weight" if "bert.pooler.dense.weight" in a else next(iter(a))
    np.testing.assert_allclose(found[key], 0.75 * a[key] + 0.25 * b[key], rtol=1e-6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--weights", "1,-1"], "--weights 1 -1: must be numbers above 0; leave a model out"),
        (["--weights", "1", "-1"], "--weights 1 -1: must be numbers above 0; leave a model out"),
        (["--weights", "-1", "1"], "--weights -1 1: must be numbers above 0; leave a model out"),
        (["--weights", "3", "x"], "--weights x: not a number; write one for each model, as 3 1"),
        (["--weights", "3,1,2"], "--weights 3 1 2: give a weight for each model, 2 in all"),
        (["--share", "1.5", "--interpolate", "c"], "--share 1.5: not from 0 to 1; write 0.5"),
        (["--share", "x", "--interpolate", "c"], "--share x: not a number; write 0.5"),
    ],
)
def test_numbers_that_cannot_be_are_shown(models, tmp_path, words, said):
    made = invoke("average", models / "a", models / "b", *words, "-o", tmp_path / "out", app=app)
    made.assert_one_line(said)


def test_a_share_of_no_way_is_refused(models, tmp_path):
    words = ["average", models / "a", "--share", "0.3", "--output", tmp_path / "out"]
    invoke(*words, app=app).assert_one_line("--share 0.3", "without --interpolate")
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_that_finds_no_room_is_not_left_out(models, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PreTrainedTokenizerBase, "save_pretrained", full)
    with pytest.raises(WholewordError, match="No space left on device"):
        average([str(models / "a")], [], tmp_path / "out")
    assert not list(tmp_path.iterdir())
