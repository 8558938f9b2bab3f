"""Several ranks, as launchers start them: one is lost, stopped or different, and all end so."""

import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.train import preloaded, runs

pytestmark = pytest.mark.slow

SOON = 30.0
"""Seconds in which all other ranks must have ended; the machine may be busy."""
ENDLESS = ("--max-steps", "1000000", "--eval-steps", "0", "--report-to", "none")
ENDLESS = (*ENDLESS, "--save-steps", "0", "--logging-steps", "1")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Shards, and a process that forks, ready: no time of it is counted."""
    folder = runs.make_data(tmp_path_factory.mktemp("ranks") / "shards")
    preloaded.run([sys.executable, "-c", "pass"], runs.environment())
    return folder


def start(commands: list[list[str]]) -> list[preloaded.Process]:
    """A rank for each command, each with a console of its own, as on several machines."""
    return [
        preloaded.start(command, env, merged=True)
        for command, env in zip(commands, runs.environments(len(commands)), strict=True)
    ]


def until(process: preloaded.Process, text: str) -> list[str]:
    """What a process says up to a line with a text."""
    said = []
    for line in process.stdout:
        said.append(line)
        if text in line:
            return said
    raise AssertionError("".join(said))


def ends(processes: list[preloaded.Process]) -> tuple[list[int], list[str], float]:
    """Statuses, last lines, and the seconds until the last has ended."""
    begin = time.monotonic()
    said = [process.communicate(timeout=120)[0] for process in processes]
    lines = [next(iter(text.strip().splitlines()[-1:]), "") for text in said]
    assert not any("Traceback" in text for text in said), said
    return [process.wait() for process in processes], lines, time.monotonic() - begin


def test_a_killed_rank_is_named(data, tmp_path):
    """Rank 0 itself, where the hub is; `test_hub.py` has the others."""
    ranks = start([runs.command(data, tmp_path / "run", *ENDLESS)] * 2)
    until(ranks[0], "step 2:")
    ranks[0].send_signal(signal.SIGKILL)
    statuses, lines, seconds = ends(ranks[1:])
    assert statuses == [1]
    assert seconds < SOON
    assert lines[0].startswith("error: rank 0 on ")
    assert f"(process {ranks[0].pid}) is gone: killed" in lines[0]
    assert "it continues from the last checkpoint" in lines[0]


def test_a_rank_that_stops_answering_is_named(data, tmp_path):
    command = runs.command(data, tmp_path / "run", *ENDLESS, "--rank-timeout", "20s")
    ranks = start([command] * 2)
    until(ranks[0], "step 2:")
    ranks[1].send_signal(signal.SIGSTOP)
    try:
        statuses, lines, seconds = ends(ranks[:1])
    finally:
        ranks[1].send_signal(signal.SIGCONT)
    assert statuses == [1]
    assert 15 < seconds < 20 + SOON
    assert lines[0].startswith("error: rank 1 on ")
    assert "has not answered for 20 seconds (--rank-timeout)" in lines[0]
    assert ends(ranks[1:])[:2] == ([1], lines)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_rank_that_does_not_start_is_named(data, tmp_path, missing):
    command = runs.command(data, tmp_path / "run", *ENDLESS, "--rank-timeout", "6s")
    environment = runs.environments(2)[1 - missing]
    statuses, lines, _ = ends([preloaded.start(command, environment, merged=True)])
    assert statuses == [1]
    named = "rank 1 of 2 did not start within 6 seconds" if missing else "rank 0 cannot be reached"
    assert named in lines[0]


DIFFERENT = {
    "options": (("--learning-rate", "2e-2"), "learning_rate: 0.01 -> 0.02"),
    "mistake": (("--masking", "none"), "argument --masking: invalid choice"),
    "folder": (("--output-dir", "{tmp}/other"), "does not see what rank 0 on"),
    "shards": (("--data", "{tmp}/other-shards"), "sees other shards there than rank 0"),
    "no shards": (("--data", "{tmp}/nowhere"), "nowhere"),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_differs_is_one_line_on_all_ranks(data, tmp_path, case):
    """As two machines of torchrun: each has a console of its own."""
    if case == "shards":
        runs.make_data(tmp_path / "other-shards", rows=(400, 201))
    options, words = DIFFERENT[case]
    options = tuple(option.format(tmp=tmp_path) for option in options)
    command = runs.command(data, tmp_path / "run", *ENDLESS)
    place = command.index(options[0]) if options[0] in command else len(command)
    changed = [*command[:place], *options, *command[place + 2 :]]
    statuses, lines, seconds = ends(start([command, changed]))
    assert statuses == [1, 1]
    assert seconds < 10 + SOON  # of which loading the program is none
    assert lines[0] == lines[1]
    assert words in lines[0]
    assert "rank 1 on " in lines[0]


def test_node_local_output_trains_is_killed_and_resumes_exactly(data, tmp_path):
    """Two machines, each with its folder; the end is that of one folder, bit for bit."""
    quiet = ("--eval-steps", "0", "--report-to", "none")
    runs.run_ranks(runs.command(data, tmp_path / "shared", *quiet), 2)

    def commands(*options: str) -> list[list[str]]:
        folders = (tmp_path / "a", tmp_path / "b")
        return [runs.command(data, f, *quiet, *options, "--node-local-output") for f in folders]

    ranks = start(commands())
    until(ranks[0], "step 3:")
    ranks[1].send_signal(signal.SIGKILL)
    assert ends(ranks[:1])[0] == [1]
    a, b = (sorted((tmp_path / name / "checkpoints").glob("step-*")) for name in "ab")
    assert a and b
    for place in (a[-1], b[-1]):
        assert "optim" in str(list((place / "state").iterdir()))
    assert not (b[-1] / "state" / "zero_pp_rank_0_mp_rank_00_optim_states.pt").exists()

    statuses, lines, _ = ends(start(commands()))
    assert statuses == [0, 0], lines
    assert runs.losses(tmp_path / "a") == runs.losses(tmp_path / "shared")
    expected, found = (weights(tmp_path / name) for name in ("shared", "a"))
    for name, value in expected.items():
        assert np.array_equal(found[name], value), name
    assert not (tmp_path / "b" / "final").exists()

    longer = ("--max-steps", "8", "--allow-changes")
    for place in (tmp_path / "b" / "checkpoints").iterdir():
        (place / "progress.json").write_text("{}")
    statuses, lines, _ = ends(start(commands(*longer)))
    assert statuses == [1, 1]
    assert "none of its checkpoints can be used" in lines[0]
    assert "progress.json has" in lines[0]
    alone = [word for word in commands(*longer)[0] if word != "--node-local-output"]
    status, lines, _ = ends([preloaded.start(alone, runs.environment(), merged=True)])
    assert status == [1]
    assert "holds the files of rank 0 of 2 alone" in lines[0]


def weights(output: Path) -> dict[str, np.ndarray]:
    return load_file(output / "final" / "model.safetensors")
