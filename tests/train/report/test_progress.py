"""What the console shows."""

import io
import subprocess
import sys

import pytest
from rich.console import Console
from rich.progress import Progress

from tests.train.runs import ROOT
from train.report.progress import bar_columns, bar_line, train_line

VALUES = {
    "loss": 8.98765,
    "accuracy": 0.1,
    "learning_rate": 1e-4,
    "tokens_per_second": 1_234_567.0,
    "mfu": 0.45,
    "data_wait": 0.001,
}


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_bar_shows_steps_and_metrics_on_any_terminal(width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    progress = Progress(*bar_columns(100_000), console=console)
    progress.add_task(bar_line(VALUES), total=100_000, completed=12_345)
    with console.capture() as capture:
        console.print(progress.get_renderable())
    lines = capture.get().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("━ ")
    assert " 12345/100000 -:--:-- loss 8.988, 1,234,567" in lines[0]
    assert ("MFU 45%" in lines[0]) == (width >= 80)


def test_a_line_says_what_there_is():
    assert "pair loss" not in train_line(VALUES) and "gradient" not in train_line(VALUES)
    assert "pair loss 0.6931" in train_line(VALUES | {"pair_loss": 0.6931})


def test_a_reader_that_has_gone_does_not_end_the_run():
    script = """if True:
        import sys
        from train.report.progress import Console
        console = Console(3, first=True)
        sys.stdin.read()  # until the reader has gone
        for step in range(3):
            console.say("a line")
        print("not seen either", flush=True)
        sys.exit(3)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout and process.stderr
    process.stdout.close()
    process.stdin.close()
    assert process.wait(60) == 3
    assert "Error" not in process.stderr.read()
