"""What needs a GPU: the tests marked `gpu`, then speed; `scripts/gpu_check.sh` runs this.

1. tests: `pytest -m gpu`, which is tests/gpu (its files say what they hold).
2. speed: `train/pretrain.py` on BERT-base with rows of 512 tokens, in fp16, bf16, and compiled.
3. peers: `scripts/benchmark_training.py`, the Hugging Face Trainer beside it (not with --quick).

All of it takes less than nine minutes: each part has its own limit, and what does not fit any more
is left out and named. Exit status 1 means that something was found wrong, not that time ran out.

    python scripts/gpu_check.py --json gpu.json --logs logs
    python scripts/gpu_check.py --dry-run          # everything on a CPU at the smallest size

The JSON is that of all benchmarks, with "parts": {NAME: {"status", "seconds", "note"}}; it is
written after every part.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

import torch  # noqa: E402

from scripts.benchmark_report import Result, machine, show  # noqa: E402

Results = dict[str, Result]
# The longest first: pytest hands its workers groups of tests in this order.
TESTS = ("test_runs.py", "test_parity.py", "test_varlen_attention.py")
MOST_WORKERS = 8  # a process on a GPU takes some 500 MB of it
PRECISIONS = {
    "fp16": ("--precision", "fp16"),
    "bf16": ("--precision", "bf16"),
    "bf16_compiled": ("--precision", "bf16", "--torch-compile", "true"),
}
SPEED_UNITS = {"tokens_per_second": "tokens/s", "mfu": "share", "data_wait": "share"}
LARGE_MEMORY = 38 << 30  # bytes of a GPU on which 64 rows of 512 tokens fit


class PartError(Exception):
    """A part found something wrong; the message says what."""


@dataclass(frozen=True)
class Sizes:
    """How large what is timed is."""

    model: str
    rows: int
    """Of 512 tokens, in a micro-batch."""
    steps: int
    peer_options: tuple[str, ...] = ()

    @classmethod
    def of(cls, dry_run: bool) -> "Sizes":
        """Those of this GPU, or the smallest."""
        if dry_run:
            return cls("bert-tiny", 2, 4, ("--model", "bert-tiny", "--accumulation", "1"))
        memory = torch.cuda.get_device_properties(0).total_memory
        return cls("bert-base", 64 if memory > LARGE_MEMORY else 16, 60)


@dataclass(frozen=True)
class Outcome:
    """How a part ended."""

    status: str
    """One of "passed", "failed", "timed out" and "left out"."""
    seconds: float
    note: str = ""


@dataclass
class Check:
    """The parts so far."""

    folder: Path
    """For what they write."""
    sizes: Sizes
    dry_run: bool
    deadline: float
    """On `time.monotonic`'s clock."""
    json: Path | None
    parts: dict[str, Outcome] = field(default_factory=dict)
    results: Results = field(default_factory=dict)

    def run(self, name: str, limit: float, work: Callable[[float], Results]) -> None:
        """Do a part within `limit` seconds and the deadline, and write down how it ended.

        What needs longer than is left for it is left out, where that is less than a third.
        """
        begin = time.monotonic()
        left = self.deadline - begin
        if left < limit / 3:
            outcome = Outcome("left out", 0.0, f"{max(left, 0):.0f} s were left for it")
        else:
            outcome = self._outcome(begin, min(limit, left), work)
        self.parts[name] = outcome
        print(f"{name}: {outcome.status} in {outcome.seconds:.0f} s  {outcome.note}", flush=True)
        self.write()

    def _outcome(self, begin: float, limit: float, work: Callable[[float], Results]) -> Outcome:
        status, note = "passed", ""
        try:
            self.results |= work(limit)
        except subprocess.TimeoutExpired:
            status, note = "timed out", f"stopped after {limit:.0f} s"
        except (PartError, subprocess.CalledProcessError, OSError, LookupError) as error:
            status, note = "failed", str(error)[:500]
        return Outcome(status, round(time.monotonic() - begin, 1), note)

    @property
    def found_wrong(self) -> bool:
        """Whether a part failed, or tests did before they were stopped."""
        tests = (self.results.get(f"tests_{word}") for word in ("failed", "error"))
        failed = any(outcome.status == "failed" for outcome in self.parts.values())
        return failed or any(result and result.value for result in tests)

    def write(self) -> None:
        """Write the JSON, if one is wanted."""
        if self.json is None:
            return
        report = {
            "benchmark": "gpu_check",
            "dry_run": self.dry_run,
            "machine": machine(),
            "parts": {name: asdict(outcome) for name, outcome in self.parts.items()},
            "results": {name: asdict(result) for name, result in self.results.items()},
        }
        self.json.parent.mkdir(parents=True, exist_ok=True)
        self.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def execute(command: list[str], limit: float, log: Path) -> int:
    """Run a command within `limit` seconds, its output into `log`; returns its exit status.

    Raises:
        TimeoutExpired: it was stopped, together with all that it had started.
    """
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            return process.wait(limit)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def last_lines(log: Path, count: int = 5) -> str:
    """The end of a log, in one line."""
    return " | ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])


# ---------------------------------------------------------------------------------- parts


def run_tests(check: Check, limit: float) -> Results:
    """Run the tests; what they found is counted even if they were stopped."""
    log = check.folder / "tests.log"
    files = [f"tests/gpu/{name}" for name in TESTS]
    workers = min(MOST_WORKERS, max((os.cpu_count() or 2) // 2, 1))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-vv",
        "-rfEs",
        "-m",
        "gpu",
        "-p",
        "no:cacheprovider",
    ]
    command += ["-n", str(workers), "--dist", "loadgroup"]
    try:
        status = execute([*command, *files], limit, log)
    finally:
        text = log.read_text(encoding="utf-8", errors="replace")
        words = re.findall(
            r"^\[gw\d+\] \[ *\d+%\] (PASSED|FAILED|ERROR|SKIPPED)\b", text, re.MULTILINE
        )
        counts = Counter(word.lower() for word in words)
        for word in ("passed", "failed", "error", "skipped"):
            check.results[f"tests_{word}"] = Result(counts[word], "tests")
    if status:
        names = re.findall(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
        raise PartError(" ".join(names) or last_lines(log))
    return {}


def build_shards(check: Check, limit: float) -> Results:
    """Build the sample with a chapter a document, so that most rows have 512 tokens."""
    log = check.folder / "build.log"
    command = [sys.executable, "-m", "preprocess", "build-shards"]
    command += ["--output", str(check.folder / "shards"), "--document-separator", "blank-line"]
    if execute(command, limit, log):
        raise PartError(last_lines(log))
    return {}


def time_training(check: Check, name: str, limit: float) -> Results:
    """Train; the last line of metrics counts, which leaves the start out."""
    folder, steps = check.folder / name, check.sizes.steps
    command = [
        *(sys.executable, "train/pretrain.py", "--deepspeed", "ds_configs/zero2.json"),
        *("--model", check.sizes.model, "--data", str(check.folder / "shards")),
        *("--output-dir", str(folder), "--report-to", "none"),
        *("--per-device-train-batch-size", str(check.sizes.rows), "--max-steps", str(steps)),
        *("--logging-steps", str(steps // 2), "--eval-steps", "0", "--save-steps", "0"),
        *PRECISIONS[name],
    ]
    log = check.folder / f"{name}.log"
    if execute(command, limit, log):
        raise PartError(last_lines(log))
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = [record for record in map(json.loads, lines) if record["kind"] == "train"][-1]
    return {f"{name}_{key}": Result(last[key], unit) for key, unit in SPEED_UNITS.items()}


def time_peers(check: Check, limit: float) -> Results:
    """Run the Trainer beside ours."""
    report, log = check.folder / "peers.json", check.folder / "peers.log"
    steps = "1" if check.dry_run else "10"
    command = [sys.executable, "scripts/benchmark_training.py", "--json", str(report)]
    command += ["--data", str(check.folder / "shards"), "--steps", steps]
    if execute([*command, *check.sizes.peer_options], limit, log):
        raise PartError(last_lines(log))
    found = json.loads(report.read_text(encoding="utf-8"))["results"]
    return {f"peers_{name}": Result(**result) for name, result in found.items()}


def run_parts(check: Check, quick: bool) -> None:
    """Everything, in the order of its worth."""
    slower = 5 if check.dry_run else 1
    check.run("tests", 270 * slower, lambda limit: run_tests(check, limit))
    check.run("shards", 60 * slower, lambda limit: build_shards(check, limit))
    for name in PRECISIONS:
        most = 150 if "compiled" in name else 60
        check.run(
            f"speed {name}",
            most * slower,
            lambda limit, name=name: time_training(check, name, limit),
        )
    if not quick:
        check.run("peers", 150 * slower, lambda limit: time_peers(check, limit))


def keep_logs(folder: Path, logs: Path) -> None:
    """Copy what the parts printed to where it stays."""
    logs.mkdir(parents=True, exist_ok=True)
    for log in folder.glob("*.log"):
        shutil.copy(log, logs)


def print_tables(check: Check) -> None:
    """Show what was found."""
    rows = [[name, o.status, f"{o.seconds:.0f}", o.note[:60]] for name, o in check.parts.items()]
    show("parts", ["", "status", "seconds", "note"], rows, [])
    rows = [[name, f"{r.value:,.4g}", r.unit] for name, r in check.results.items()]
    gpu = machine()["gpu"] or "no GPU"
    show(f"{check.sizes.model}, 512 tokens, {gpu}", ["", "value", "unit"], rows, [])


def main() -> int:
    """Run all parts; exit status 1 if one of them found something wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="leave the Trainer out")
    parser.add_argument("--json", type=Path, help="where to write the results")
    parser.add_argument("--logs", type=Path, help="a folder for what every part printed")
    parser.add_argument("--minutes", type=float, help="time for all parts (8.5)")
    parser.add_argument("--dry-run", action="store_true", help="on a CPU, to try this script")
    options = parser.parse_args()
    if options.dry_run:
        os.environ |= {"WHOLEWORD_GPU_DRY_RUN": "1", "DS_ACCELERATOR": "cpu"}
    elif not torch.cuda.is_available():
        print("gpu_check: torch sees no GPU here, so nothing was checked")
        return 0
    os.environ["PYTHONUNBUFFERED"] = "1"  # a log is read even if its writer was stopped
    minutes = options.minutes or (40 if options.dry_run else 8.5)
    with tempfile.TemporaryDirectory() as name:
        check = Check(
            folder=Path(name),
            sizes=Sizes.of(options.dry_run),
            dry_run=options.dry_run,
            deadline=time.monotonic() + 60 * minutes,
            json=options.json and options.json.resolve(),
        )
        try:
            run_parts(check, options.quick)
        finally:
            if options.logs:
                keep_logs(check.folder, options.logs)
    print_tables(check)
    return int(check.found_wrong)


if __name__ == "__main__":
    sys.exit(main())
