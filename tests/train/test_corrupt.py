"""The short form of `scripts/corrupt.py`, in a process of its own: it forks."""

import json
import random
import subprocess
import sys

import pytest

from scripts.corruptions import CORRUPTIONS, NONSENSE, change_json
from tests.train import runs

SEED, CASES = 210, 12  # every kind of file


@pytest.mark.slow
def test_corrupted_files_end_in_one_line_or_right(tmp_path):
    command = [sys.executable, "scripts/corrupt.py", "--seed", str(SEED), "--cases", str(CASES)]
    result = subprocess.run(
        [*command, "--verbose", "--json", str(tmp_path / "corrupt.json")],
        cwd=runs.ROOT,
        env=runs.environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    cases = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert len(cases) == CASES
    assert {case["kind"] for case in cases} == set(CORRUPTIONS)
    assert {case["training"] for case in cases} >= {"refused", "same losses"}
    figures = json.loads((tmp_path / "corrupt.json").read_text())["results"]
    assert (figures["cases"]["value"], figures["failed"]["value"]) == (CASES, 0)


def test_a_change_is_one_and_the_same_for_a_seed():
    value = {"a": 1, "b": {"c": [1, 2, {"d": "x"}]}, "e": None}
    for seed in range(200):
        changed, way, what = change_json(value, random.Random(seed))
        again = change_json(value, random.Random(seed))
        assert repr(changed) == repr(again[0])  # not a number is not itself
        assert what.startswith(".".join(map(str, way)))
        assert changed.keys() >= value.keys() - {way[0]}
    assert value == {"a": 1, "b": {"c": [1, 2, {"d": "x"}]}, "e": None}
    assert len(NONSENSE) > 10
