"""What a build shows while it runs."""

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from preprocess import build_progress, kernels
from preprocess.build_progress import show_build
from preprocess.run.events import Pass, TaskProgress
from preprocess.run.plan import BuildPlan
from preprocess.write.manifest import Manifest
from tests.preprocess.support import invoke


def shown(
    monkeypatch: pytest.MonkeyPatch, events: list[tuple[Pass | TaskProgress | None, str]]
) -> list[bool]:
    """Whether each text is on the screen some seconds after the event beside it, at the latest."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    monkeypatch.setattr(build_progress, "console", console)
    seen = []

    def look(text: str) -> None:
        deadline = time.monotonic() + 20
        while text not in screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
        seen.append(text in screen.getvalue())

    def run_build(plan: BuildPlan) -> Iterator[Pass | TaskProgress | Manifest]:
        for event, text in events:
            if event is not None:
                yield event
            look(text)
        yield Manifest.model_construct()

    monkeypatch.setattr(build_progress, "run_build", run_build)
    plan = BuildPlan.__new__(BuildPlan)
    object.__setattr__(plan, "files", [])
    show_build(plan, quiet=False)
    return seen


def test_something_is_shown_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = iter(range(3, 1000))
    monkeypatch.setattr(kernels, "count_compiled", lambda: next(compiled))
    events = [
        (None, "building"),
        (None, "compiling kernels: "),
        (Pass("hashing", 100), "hashing"),
        (TaskProgress(50, 0, earlier=True), " 50%"),
        (TaskProgress(10, 7), " 60%"),
        (TaskProgress(30, 7), "Mtokens/s  0:00:0"),
    ]
    assert shown(monkeypatch, events) == [True] * len(events)


def test_kernels_count_from_the_beginning_to_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert kernels.compiled_until(1000.0) == 0
    (tmp_path / "module").mkdir()
    for name, end in (("old", 900.0), ("late", 1060.0), ("early", 1010.0)):
        path = tmp_path / "module" / f"{name}.nbc"
        path.touch()
        os.utime(path, (end, end))
    assert kernels.compiled_until(1000.0) == 60
    assert kernels.compiled_until(2000.0) == 0


def test_a_build_says_what_compiling_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a log too, where no bar counts them."""
    text = tmp_path / "in.txt"
    text.write_text("And David the king begat Solomon.\n" * 20)
    monkeypatch.setattr(kernels, "compiled_until", lambda begin: 60.4)
    done = invoke("build-shards", "-i", str(text), "-o", str(tmp_path / "out"), "--workers", "1")
    assert "MB/s; the first 60 s compiled kernels, once" in " ".join(done.output.split())
    assert "words: pre-tokens (" in done.output


def test_the_time_left_follows_from_what_this_command_did(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 102.0])
    monkeypatch.setattr(build_progress.time, "perf_counter", lambda: next(clock))
    pace = build_progress._Pace(1000)
    pace.add(TaskProgress(900, 0, earlier=True))
    assert str(pace) == ""
    pace.add(TaskProgress(10, 5))
    assert str(pace) == ""  # it came with what workers need to start
    pace.add(TaskProgress(10, 4_000_000))
    assert str(pace) == "0.0 MB/s  2.00 Mtokens/s  0:00:16 left"
