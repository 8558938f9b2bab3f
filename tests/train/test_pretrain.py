"""The trainer from the command line: real runs, one rank and several."""

import importlib.machinery
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from tests.train import runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return runs.make_data(tmp_path_factory.mktemp("pretrain") / "shards")


@pytest.fixture(scope="session")
def one(data):
    """One rank, eight micro-batches a step, no launcher."""
    output = data.parent / "one"
    process = runs.launch(data, output, 1)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output, said, errors


def weights(output: Path) -> dict[str, np.ndarray]:
    return load_file(output / "final" / "model.safetensors")


def test_a_run_learns_and_reports(one):
    output, said, errors = one
    first = said.splitlines()[0]
    assert "1 x cpu, fp32, ZeRO 2; 6 steps of 16 x 32 = 512 tokens" in first
    assert "changed: optimizer -> torch's fused AdamW" in said
    assert errors == ""
    assert runs.losses(output)[-1] < runs.losses(output)[0]
    validations = runs.records(output, "validation")
    assert [record["step"] for record in validations] == [0, runs.STEPS]
    assert validations[-1]["loss"] < validations[0]["loss"]
    assert (output / "curves.png").stat().st_size > 1000
    assert list((output / "tensorboard").iterdir())
    train = runs.records(output, "train")[-1]
    assert train["gradient_norm"] > 0
    assert 0 < train["mfu"] < 2
    assert 0 <= train["data_wait"] < 1


def test_only_so_many_checkpoints_are_kept(one):
    names = sorted(path.name for path in (one[0] / "checkpoints").iterdir())
    assert names == ["step-00000005", "step-00000006"]


def test_final_model_fills_masks(one):
    from transformers import pipeline

    fill = pipeline("fill-mask", model=str(one[0] / "final"))
    assert len(fill("天下大[MASK]，分久必合。")) == 5
    assert fill.model.dtype.is_floating_point and fill.model.dtype.itemsize == 4


def test_stopped_damaged_and_continued_is_bit_equal(data, one):
    """SIGTERM ends with 0; a damaged checkpoint is skipped; the end is as if never stopped."""
    output = data.parent / "stopped"
    process = runs.start(data, output)
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith("step 3: loss"):
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, seen
    newest = sorted((output / "checkpoints").iterdir())[-1]
    assert 3 <= int(newest.name[-2:]) < runs.STEPS, seen
    assert not (output / "final").exists()

    state = next((newest / "state").glob("*optim_states.pt"))
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    result = runs.run(data, output)
    assert result.returncode == 0, result.stderr
    assert f"{newest}: skipped, state/{state.name} has another checksum" in result.stdout
    assert runs.losses(output) == runs.losses(one[0])
    expected, found = weights(one[0]), weights(output)
    for name, value in expected.items():
        assert np.array_equal(found[name], value), name

    (output / "final").rename(output / "elsewhere")
    saved = sorted((output / "checkpoints").iterdir())
    for folder in saved:
        (folder / "progress.json").write_text("{}")
    result = runs.run(data, output)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "none of its checkpoints can be used" in result.stderr
    assert sorted((output / "checkpoints").iterdir()) == saved


def test_a_finished_run_says_so_and_another_is_refused(data, one):
    again = runs.run(data, one[0])
    assert again.returncode == 0
    assert "this run is finished" in again.stdout
    other = runs.run(data, one[0], "--learning-rate", "0.02", "--seed", "7")
    assert other.returncode == 1
    assert other.stderr.count("\n") == 1
    assert "learning_rate: 0.01 -> 0.02; seed: 42 -> 7" in other.stderr


def test_errors_are_one_line_on_any_number_of_ranks(data, tmp_path):
    process = runs.launch(tmp_path / "nowhere", tmp_path / "run", 2)
    written = process.communicate(timeout=300)[1]
    assert process.returncode != 0
    errors = [line for line in written.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "nowhere" in errors[0]
    assert "Traceback" not in written


def test_commands_on_the_final_model(data, one, tmp_path):
    from train.cli import app

    model = str(one[0] / "final")
    scores = CliRunner().invoke(app, ["evaluate", "--model", model, "--data", str(data), "--json"])
    assert scores.exit_code == 0, scores.output
    # Same rows, same masks, same weights as the run's own last validation.
    expected = runs.records(one[0], "validation")[-1]["loss"]
    assert float(re.search(r'"loss": ([\d.]+)', scores.output).group(1)) == pytest.approx(expected)

    text = tmp_path / "lines.txt"
    text.write_text(
        "滚滚长江东逝水，浪花淘尽英雄。\n\n" + "青山依旧在，" * 100 + "\n", encoding="utf-8"
    )
    out = tmp_path / "out.csv"
    made = CliRunner().invoke(app, ["predict", "-i", str(text), "-o", str(out), "--model", model])
    assert made.exit_code == 0, made.output
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "src,pred,mask"
    assert len(lines) == 3
    assert "[MASK]" in lines[1].split(",")[-1] or "[MASK]" in lines[1]


def test_no_module_is_named_like_a_library():
    """The launcher puts train/ first on the path, where it would shadow one."""
    elsewhere = [p for p in sys.path if Path(p or ".").resolve() != runs.ROOT / "train"]
    for file in (runs.ROOT / "train").glob("[a-z]*.py"):
        assert file.stem not in sys.stdlib_module_names
        assert importlib.machinery.PathFinder.find_spec(file.stem, elsewhere) is None, file


def test_help_lists_every_option():
    result = subprocess.run(
        [sys.executable, "train/pretrain.py", "--help"],
        cwd=runs.ROOT,
        env=runs.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    for name in ("--deepspeed", "--global-batch-size", "--resume-from-checkpoint", "--local-rank"):
        assert name in result.stdout
