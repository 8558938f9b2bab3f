"""The script that checks a GPU keeps to its time, and says what it left out. It needs none."""

import json
import subprocess
import sys
import time

import pytest

from scripts import gpu_check
from scripts.benchmark_report import Result
from scripts.gpu_check import Check, PartError, Sizes


@pytest.fixture
def check(tmp_path):
    sizes = Sizes.of(dry_run=True)
    return Check(tmp_path, sizes, True, time.monotonic() + 60, tmp_path / "report.json")


def fail(limit):
    raise PartError("two tests")


def test_every_part_is_written_down(check):
    check.run("one", 10, lambda limit: {"speed": Result(limit, "s")})
    check.run("two", 10, fail)
    check.run("three", 600, lambda limit: pytest.fail("there are 60 seconds left"))
    report = json.loads(check.json.read_text())
    assert {name: part["status"] for name, part in report["parts"].items()} == {
        "one": "passed",
        "two": "failed",
        "three": "left out",
    }
    assert report["parts"]["two"]["note"] == "two tests"
    assert report["results"] == {"speed": {"value": 10, "unit": "s", "threads": 1}}
    assert check.found_wrong


def test_a_part_that_takes_too_long_is_stopped_with_what_it_started(check, tmp_path):
    child = f"import time; time.sleep(3); open({str(tmp_path / 'alive')!r}, 'w')"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"

    def work(limit):
        gpu_check.execute([sys.executable, "-c", parent], limit, tmp_path / "log")

    check.run("slow", 1, work)
    assert check.parts["slow"].status == "timed out"
    assert not check.found_wrong
    time.sleep(3)
    assert not (tmp_path / "alive").exists()


@pytest.mark.parametrize(
    ("status", "lines", "wrong"),
    [
        (
            0,
            [
                "[gw0] [  1%] PASSED tests/gpu/a.py::test_b[1 2]",
                "[gw1] [ 50%] SKIPPED tests/gpu/a.py::c",
            ],
            False,
        ),
        (
            1,
            ["[gw0] [100%] FAILED tests/gpu/a.py::test_b", "FAILED tests/gpu/a.py::test_b - x"],
            True,
        ),
        (None, ["[gw10] [  1%] FAILED tests/gpu/a.py::test_b"], True),
        (None, ["tests/gpu/a.py::test_b", "[gw0] [  1%] PASSED tests/gpu/a.py::test_b"], False),
    ],
)
def test_tests_are_counted_even_where_they_were_stopped(check, status, lines, wrong, monkeypatch):
    def execute(command, limit, log):
        log.write_text("\n".join(lines))
        if status is None:
            raise subprocess.TimeoutExpired(command, limit)
        return status

    monkeypatch.setattr(gpu_check, "execute", execute)
    check.run("tests", 30, lambda limit: gpu_check.run_tests(check, limit))
    assert check.parts["tests"].status == {0: "passed", 1: "failed", None: "timed out"}[status]
    assert check.results["tests_passed"].value == sum("PASSED" in line for line in lines)
    assert check.found_wrong == wrong


def test_without_a_gpu_it_says_so_and_succeeds(monkeypatch, capsys):
    monkeypatch.setattr(gpu_check.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_check.py"])
    assert gpu_check.main() == 0
    assert "no GPU" in capsys.readouterr().out
