"""Real two-rank runs that are killed: the short form of `scripts/chaos.py train`, and more."""

import signal

import pytest

from scripts.chaos import run_rounds, train_scenario
from tests.train import runs
from train.engine import checkpoint


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return runs.make_data(tmp_path_factory.mktemp("chaos") / "shards")


@pytest.mark.slow
def test_a_killed_run_ends_as_the_undisturbed_one(data, tmp_path):
    """In a folder whose name is a pattern, which DeepSpeed would take it for."""
    scratch = tmp_path / "*训练* [a-b] (1)"
    scratch.mkdir()
    options = ("--gradient-accumulation-steps", "1", "--eval-steps", "0", "--logging-steps", "1")
    scenario = train_scenario(data, steps=12, save_steps=1, options=options)
    assert run_rounds(scenario, rounds=1, seed=0, scratch=scratch) == (1, 1)


@pytest.mark.slow
def test_ranks_stop_when_only_the_deepspeed_command_is_killed(data, tmp_path):
    """They save within a step or two, and say that they stopped once that is done."""
    output = tmp_path / "run"
    options = ("--max-steps", "100000", "--save-steps", "0", "--eval-steps", "0")
    process = runs.start(data, output, 2, *options)
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith("step 3: loss"):
            process.send_signal(signal.SIGKILL)
        if line.startswith("stopped"):
            newest, skipped = checkpoint.newest_whole(output / "checkpoints")
    said = "".join(seen)  # the ranks hold the pipe: they are gone when it ends
    assert process.wait(60) == -signal.SIGKILL
    step = checkpoint.read_progress(newest).step
    assert f"stopped at step {step}: the launcher is gone" in said, said
    assert said.count("\nstep ") == step <= 6 and skipped == []
