"""What the shell scripts say of themselves, before they do anything."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(script: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(ROOT / "scripts" / script), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("script", ["quickstart.sh", "show_gain.sh"])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(script: str, option: str, tmp_path: Path) -> None:
    found = run(script, option, folder=tmp_path)
    first = (ROOT / "scripts" / script).read_text().splitlines()[1]
    assert found.returncode == 0
    assert found.stdout.startswith(first.removeprefix("# "))
    assert "set -euo" not in found.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("script", "arguments", "wrong"),
    [
        ("quickstart.sh", ["--fast"], "has no option --fast"),
        ("quickstart.sh", ["folder"], "takes no argument folder"),
        ("show_gain.sh", ["-o"], "has no option -o"),
        ("show_gain.sh", ["folder", "second"], "takes no argument second"),
    ],
)
def test_arguments_that_are_not_known(
    script: str, arguments: list[str], wrong: str, tmp_path: Path
) -> None:
    found = run(script, *arguments, folder=tmp_path)
    assert found.returncode == 2
    assert found.stderr == f"error: scripts/{script} {wrong}; --help says what it does\n"
    assert not (ROOT / arguments[0]).exists()
