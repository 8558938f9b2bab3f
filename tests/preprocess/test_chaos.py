"""The short form of `scripts/chaos.py build`."""

import pytest

from scripts.chaos import build_scenario, run_rounds


@pytest.mark.slow
def test_killed_builds_end_as_the_undisturbed_one(tmp_path) -> None:
    rounds, identical = run_rounds(build_scenario(split_size="32KiB"), 2, 1, tmp_path)
    assert rounds == 2
    assert identical == rounds
