"""A Python without the packages: one line that says how to get them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "command",
    [["-m", "preprocess"], ["-m", "train"], ["train/pretrain.py"], ["-m", "wholeword"]],
    ids=" ".join,
)
def test_a_python_without_packages_is_told_in_one_line(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-S", *command, "--help"],
        cwd=ROOT,
        env={},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: rich is not installed in this Python ({sys.executable}); "
        "activate the environment (. .venv/bin/activate) or pip install .\n"
    )
