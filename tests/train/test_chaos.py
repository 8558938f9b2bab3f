"""Real two-rank runs that are killed: the short form of `scripts/chaos.py train`, and more."""

import signal

import pytest

from scripts import chaos
from tests.train import runs
from train.engine import checkpoint


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return runs.make_data(tmp_path_factory.mktemp("chaos") / "shards")


class PreloadedRanks:
    """The two ranks of a scenario's command, without the launcher's own start."""

    def __init__(self, scenario, folder, log):
        command = scenario.command(folder)
        script = command.index("train/pretrain.py")
        self._ranks = runs.start_ranks([command[0], *command[script:]], 2)

    def poll(self):
        for rank in self._ranks:
            if rank.poll():
                raise AssertionError(rank.communicate(60)[0])
        return None if None in [rank.returncode for rank in self._ranks] else 0

    @property
    def returncode(self):
        return self.poll()

    def wait(self, timeout):
        for rank in self._ranks:
            rank.communicate(timeout)

    def kill(self):
        for rank in self._ranks:
            rank.send_signal(signal.SIGKILL)
        for rank in self._ranks:
            rank.wait(60)


@pytest.mark.slow
def test_a_killed_run_ends_as_the_undisturbed_one(data, tmp_path, monkeypatch):
    """In a folder whose name is a pattern, which DeepSpeed would take it for."""
    scratch = tmp_path / "*训练* [a-b] (1)"
    scratch.mkdir()
    options = ("--gradient-accumulation-steps", "1", "--eval-steps", "0", "--logging-steps", "1")
    scenario = chaos.train_scenario(data, steps=12, save_steps=1, options=options)
    monkeypatch.setattr(chaos, "start", PreloadedRanks)
    monkeypatch.setattr(chaos, "kill_everything", PreloadedRanks.kill)
    assert chaos.run_rounds(scenario, rounds=1, seed=0, scratch=scratch) == (1, 1)


@pytest.mark.slow
def test_ranks_stop_when_only_the_deepspeed_command_is_killed(data, tmp_path):
    """They save within a step or two, and say that they stopped once that is done."""
    output = tmp_path / "run"
    options = ("--max-steps", "100000", "--save-steps", "0", "--eval-steps", "0")
    process = runs.launch(data, output, 2, *options)
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
