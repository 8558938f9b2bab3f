"""Feed training and `verify` with corrupted files whose checksums are right.

    python scripts/corrupt.py --cases 200 --json corrupt.json
    python scripts/corrupt.py --seed 17 --cases 1           # one case again

Every case changes one thing in a manifest, an index, a shard, a DeepSpeed file or a file of a run's
folder, and runs the real commands on it, each in a process forked from one that has everything
loaded. It passes if a command ends with one line and exit status 1, or well, with the very losses
of the undisturbed run. A defect (exit status 70), more than one line, a signal, no end within a
minute, or other losses without a word fail it. Case n of seed s is the first of seed s + n.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
# Threads do not survive a fork.
os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from scripts.benchmark_report import Result, write_json  # noqa: E402
from scripts.corruptions import CORRUPTIONS, Corruption  # noqa: E402

TIMEOUT_SECONDS = 60
CHARACTERS = 180_000
"""Of the sample's text: two shards of two record batches, and something to validate on."""
MODEL = ("--model", "bert-tiny", "--per-device-train-batch-size", "8", "--precision", "fp32")
SIZE = "hidden_size=32,intermediate_size=64,num_hidden_layers=1"
EVERY_STEP = ("--logging-steps", "1", "--save-steps", "1", "--save-total-limit", "9")
VALIDATED = ("--eval-steps", "2")
CONTINUED = ("options", "progress", "checkpoint")
SHARDS = ("manifest", "index", "shard")
Losses = dict[str, float | None]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int | None
    """Its exit status, minus the number of a signal, or None where it had to be killed."""
    error: str
    """What it wrote to standard error."""

    @property
    def refused(self) -> bool:
        """Whether it said in one line what is wrong."""
        lines = self.error.splitlines()
        return self.status == 1 and len(lines) == 1 and lines[0].startswith("error: ")


@dataclass(frozen=True)
class Case:
    """A corruption, and what came of it."""

    seed: int
    kind: str
    what: str
    training: str
    """One of "refused", "same losses", "other losses", "other losses, rightly" and "FAILED"."""
    verify: str
    """One of "refused", "passed", "not asked" and "FAILED"."""
    said: str
    """What the commands wrote to standard error."""

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong with it."""
        return "FAILED" not in (self.training, self.verify) and self.training != "other losses"


def in_child(work: Callable[[], int], scratch: Path) -> Ended:
    """Run `work` in a forked process of its own group, with a time limit."""
    output, errors = scratch / "out.txt", scratch / "err.txt"
    child = os.fork()
    if child == 0:
        _become_command(work, output, errors)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    status = None
    while status is None and time.monotonic() < deadline:
        ended, code = os.waitpid(child, os.WNOHANG)
        if ended:
            status = os.waitstatus_to_exitcode(code)
        else:
            time.sleep(0.005)
    if status is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return Ended(status, errors.read_text(encoding="utf-8", errors="replace"))


def _become_command(work: Callable[[], int], output: Path, errors: Path) -> None:
    """Run `work` with its streams in files, and end the process."""
    status = 99
    try:
        for stream, path in ((1, output), (2, errors)):
            with path.open("wb") as file:
                os.dup2(file.fileno(), stream)
        os.environ["TMPDIR"] = tempfile.tempdir = str(output.parent)  # where defects are logged
        status = work()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def train(folder: Path, steps: int) -> int:
    """`train/pretrain.py` on a folder of `corruptions`; its exit status."""
    from train.pretrain import main

    paths = ("--data", str(folder / "shards"), "--output-dir", str(folder / "run"))
    options = (*MODEL, *EVERY_STEP, *VALIDATED, "--config-overrides", SIZE, "--report-to", "none")
    file = ("--deepspeed", str(folder / "deepspeed.json"), "--max-steps", str(steps))
    with mock.patch("train.run.finish.draw_curves"):  # takes longer than all the rest
        return main([*paths, *options, *file])


def verify(folder: Path) -> int:
    """`python -m preprocess verify` on a folder of `corruptions`; its exit status."""
    return _preprocess("verify", "--data", str(folder / "shards"))


def _preprocess(*arguments: str) -> int:
    from preprocess.cli import app
    from preprocess.console import run_command

    try:
        run_command(lambda: app(arguments))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def losses(folder: Path) -> Losses:
    """Training and validation losses of a folder's run, by kind and step."""
    path = folder / "run" / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    records = [json.loads(line) for line in text.splitlines()]
    return {f"{r['kind']} {r['step']}": r.get("loss") for r in records if r["kind"] != "run"}


@dataclass(frozen=True)
class Original:
    """What is copied and corrupted, and what it gives undisturbed."""

    folder: Path
    """`shards/`, `deepspeed.json`, `run/` after two of four steps, and `finished/` after all."""
    begun: Losses
    """Of a run of two steps."""
    continued: Losses
    """Of the run of four."""

    @classmethod
    def make(cls, folder: Path) -> "Original":
        """Build shards of the sample and train on them; loads into this process what that needs."""
        folder.mkdir(parents=True)
        text = (ROOT / "samples" / "zh" / "sanguo.txt").read_text(encoding="utf-8")
        (folder / "text.txt").write_text(text[:CHARACTERS], encoding="utf-8")
        shutil.copy(ROOT / "ds_configs" / "zero2.json", folder / "deepspeed.json")
        build = ("build-shards", "--input", str(folder / "text.txt"), "--max-length", "16")
        size = ("--validation-fraction", "0.005", "--split-size", "256KiB", "--workers", "1")
        _load(["deepspeed", "train.pretrain"])
        with contextlib.redirect_stdout(io.StringIO()):
            _check(_preprocess(*build, *size, "--json", "--output", str(folder / "shards")))
            _check(verify(folder))
        _check(in_child(lambda: _train_and_list_modules(folder), folder).status)
        begun = losses(folder)
        shutil.rmtree(folder / "run")
        _load((folder / "modules.txt").read_text(encoding="utf-8").splitlines())
        _check(in_child(lambda: train(folder, steps=4), folder).status)
        continued = losses(folder)
        (folder / "run").rename(folder / "finished")
        run = shutil.copytree(folder / "finished", folder / "run")
        shutil.rmtree(run / "final")
        for step in (3, 4):
            shutil.rmtree(run / "checkpoints" / f"step-{step:08d}", ignore_errors=True)
        return cls(folder, begun, continued)

    def copy_for(self, kind: str, folder: Path) -> None:
        """What a corruption of this kind needs."""
        folder.mkdir()
        shutil.copytree(self.folder / "shards", folder / "shards")
        shutil.copy(self.folder / "deepspeed.json", folder)
        if kind == "options":
            shutil.copytree(self.folder / "finished", folder / "run")
        elif kind in CONTINUED:
            shutil.copytree(self.folder / "run", folder / "run")


def _train_and_list_modules(folder: Path) -> int:
    status = train(folder, steps=2)
    (folder / "modules.txt").write_text("\n".join(sys.modules), encoding="utf-8")
    return status


def _load(modules: list[str]) -> None:
    """Import what a run imports, without a run: DeepSpeed's state would go to every fork."""
    for name in modules:
        with contextlib.suppress(Exception):  # some exist under the name that a library gave them
            importlib.import_module(name)


def _check(status: int | None) -> None:
    if status != 0:
        raise RuntimeError(f"an undisturbed command ended with exit status {status}")


def run_case(original: Original, seed: int, scratch: Path) -> Case:
    """Corrupt a copy of `original` as `seed` says, and run the commands on it."""
    rng = random.Random(seed)
    kind = rng.choice(list(CORRUPTIONS))
    folder = scratch / f"case-{seed}"
    original.copy_for(kind, folder)
    try:
        done = CORRUPTIONS[kind](folder, rng)
        ended, checked = [], "not asked"
        if kind in SHARDS:
            ended.append(in_child(lambda: verify(folder), folder))
            checked = _judge_verify(ended[0])
        steps, expected = (4, original.continued) if kind in CONTINUED else (2, original.begun)
        ended.append(in_child(lambda: train(folder, steps), folder))
        training = _judge_training(ended[-1], done, losses(folder), expected)
        said = "\n".join(f"[{e.status}] {e.error.strip()}" for e in ended)
    finally:
        shutil.rmtree(folder)
    return Case(seed, kind, done.what, training, checked, said)


def _judge_verify(ended: Ended) -> str:
    if ended.refused:
        return "refused"
    return "passed" if ended.status == 0 else "FAILED"


def _judge_training(ended: Ended, done: Corruption, found: Losses, expected: Losses) -> str:
    if ended.refused:
        return "refused"
    if ended.status != 0:
        return "FAILED"
    if found == expected:
        return "same losses"
    return "other losses, rightly" if done.meaningful else "other losses"


def run_cases(seed: int, cases: int, scratch: Path) -> list[Case]:
    """Cases `seed` to `seed + cases - 1`; a line for each that fails."""
    original = Original.make(scratch / "original")
    results = []
    for number in range(seed, seed + cases):
        case = run_case(original, number, scratch)
        results.append(case)
        if not case.passed:
            again = f"scripts/corrupt.py --seed {case.seed} --cases 1"
            print(f"FAILED: {again} ({case.kind}: {case.what})\n{case.said}", flush=True)
    return results


def summarize(results: list[Case]) -> Table:
    """Cases by kind and end."""
    ends = ["refused", "same losses", "other losses, rightly", "other losses", "FAILED"]
    table = Table(title="corrupted files, checksums right")
    for heading in ("file", "cases", *ends, "verify refused", "verify FAILED"):
        table.add_column(heading, justify="left" if heading == "file" else "right")
    for kind in (*CORRUPTIONS, "all"):
        of_kind = [case for case in results if kind in ("all", case.kind)]
        trained = Counter(case.training for case in of_kind)
        verified = Counter(case.verify for case in of_kind)
        counts = [len(of_kind), *(trained[end] for end in ends)]
        counts += [verified["refused"], verified["FAILED"]]
        table.add_row(kind, *map(str, counts))
    return table


def main() -> int:
    """Run the cases, print and write the figures; 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--verbose", action="store_true", help="also print the cases that pass")
    arguments = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="wholeword-corrupt-") as scratch:
        results = run_cases(arguments.seed, arguments.cases, Path(scratch))
    if arguments.verbose:
        print("\n".join(json.dumps(asdict(case)) for case in results))
    Console().print(summarize(results))
    failed = sum(not case.passed for case in results)
    figures = {
        "cases": Result(len(results), "cases"),
        "failed": Result(failed, "cases"),
        "duration": Result(time.monotonic() - begin, "s"),
    }
    write_json(arguments.json, "corrupt", figures)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
