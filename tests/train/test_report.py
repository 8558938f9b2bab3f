"""What the console shows."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from train.report import bar_columns, bar_line, train_line

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
