"""Kill real builds and real training runs at random moments, and compare how they end.

    python scripts/chaos.py build --rounds 30 --json chaos_build.json
    python scripts/chaos.py slices --rounds 30 --json chaos_slices.json
    python scripts/chaos.py train --rounds 10 --json chaos_train.json

First the command runs undisturbed. Then it runs in another folder, is killed (SIGKILL, every
process group of it), and is started again, until it is finished; what it then left is compared,
byte by byte, with what the undisturbed one left, and a new folder is begun. A round is one kill,
and it counts only if some work was done since the start and some remained; it is identical if its
folder ended the same. `slices`: three slices of a build run at once, one of them, whichever, is
killed and started again; undisturbed, it is a build without slices.
"""

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402

from scripts.benchmark_report import Result, write_json  # noqa: E402

POLL_SECONDS = 0.002
STEP_LIMIT_SECONDS = 300
"""A command that does nothing new for so long hangs."""
KILLS = 5
"""Of commands that run at once, in one folder."""
SHARE = 3
"""A kill falls in the first third of what remains, so that a folder sees several."""


@dataclass(frozen=True)
class Scenario:
    """A command that can be continued, and how to see from outside where it stands."""

    command: Callable[[Path], list[str]]
    """The command line that writes into a folder."""
    work_done: Callable[[Path], int]
    """Units of work that would survive a kill now."""
    total: int
    """Units of work in all."""
    is_finished: Callable[[Path], bool]
    digests: Callable[[Path], dict[str, str]]
    """Hash of every file that must be the same."""
    jitter_seconds: float
    """The kill falls up to this long after a unit was finished: about what a unit takes."""
    together: tuple[tuple[str, ...], ...] = ((),)
    """What is added to the command line of each of the commands that run at once."""


class Hanging(Exception):
    """The command stopped making progress."""


def build_scenario(workers: int = 2, split_size: str = "16KiB") -> Scenario:
    """The bundled Chinese sample in about a hundred tasks."""
    source = ROOT / "samples" / "zh"
    size = sum(path.stat().st_size for path in source.iterdir())

    def command(folder: Path) -> list[str]:
        return [
            *(sys.executable, "-m", "preprocess", "build-shards", "--json"),
            *("--input", str(source), "--output", str(folder)),
            *("--split-size", split_size, "--workers", str(workers)),
        ]

    return Scenario(
        command=command,
        work_done=lambda folder: len(list(folder.glob(".build/task-*.json"))),
        total=size // (int(split_size.removesuffix("KiB")) << 10),
        is_finished=lambda folder: (folder / "manifest.json").exists(),
        digests=lambda folder: _digests(folder, {".build"}),
        jitter_seconds=0.05,
    )


def slices_scenario(count: int = 3, split_size: str = "16KiB", dedup: bool = True) -> Scenario:
    """The same build by several slices, with the search for duplicates, which wait for another."""
    whole = build_scenario(workers=1, split_size=split_size)
    searching = ("--dedup", "documents") if dedup else ()
    return replace(
        whole,
        command=lambda folder: [*whole.command(folder), *searching],
        work_done=lambda folder: len(list(folder.glob(".build/**/task-*.json"))),
        total=whole.total * (2 if dedup else 1),  # tasks are hashed, and then built
        together=tuple(("--slice", f"{index}/{count}") for index in range(count)),
    )


def train_scenario(
    shards: Path, steps: int = 40, save_steps: int = 2, options: tuple[str, ...] = ()
) -> Scenario:
    """A small model on two ranks, a checkpoint every second step.

    Args:
        shards: a dataset with short rows, so that a step takes a fraction of a second.
        steps: of a run.
        save_steps: steps from one checkpoint to the next.
        options: more of them for the command.
    """

    def command(folder: Path) -> list[str]:
        return [
            *(sys.executable, "-m", "deepspeed.launcher.runner"),  # what `deepspeed` is
            *("--num_accelerators", "2", "--master_port", str(_free_port())),
            *("train/pretrain.py", "--deepspeed", "ds_configs/zero2.json", "--data", str(shards)),
            *("--model", "bert-tiny", "--per-device-train-batch-size", "4"),
            *("--max-steps", str(steps), "--save-steps", str(save_steps)),
            *("--output-dir", str(folder), *options),
        ]

    def saved(folder: Path) -> int:
        names = [path.parent.name for path in folder.glob("checkpoints/step-*/manifest.json")]
        return max((int(name.split("-")[-1]) // save_steps for name in names), default=0)

    return Scenario(
        command=command,
        work_done=saved,
        total=steps // save_steps,
        is_finished=lambda folder: (folder / "final").exists(),
        digests=lambda folder: _digests(folder / "final", set()),
        jitter_seconds=1.0,
    )


def _free_port() -> int:
    """A port that nobody listens on: another run on this machine has the launcher's default."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def build_training_shards(folder: Path) -> Path:
    """Shards of the bundled Chinese sample in rows of 64 tokens."""
    command = [sys.executable, "-m", "preprocess", "build-shards", "--json", "--max-length", "64"]
    subprocess.run([*command, "--output", str(folder)], cwd=ROOT, check=True, capture_output=True)
    return folder


def _digests(folder: Path, without: set[str]) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in without
    }


def start(
    scenario: Scenario, folder: Path, log: Path, more: tuple[str, ...] = ()
) -> subprocess.Popen[bytes]:
    """Start the command in a process group of its own."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [*scenario.command(folder), *more],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kill_everything(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the process groups of the command and of all that it started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(True)]
        groups = set()
        for member in family:
            with contextlib.suppress(ProcessLookupError):
                groups.add(os.getpgid(member.pid))
        for group in groups - {os.getpgid(0)}:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        psutil.wait_procs(family[1:], timeout=10)
    process.wait()


def run_to_end(scenario: Scenario, folder: Path, log: Path) -> None:
    """Run undisturbed; it must succeed."""
    process = start(scenario, folder, log)
    try:
        process.wait(STEP_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        kill_everything(process)
    _check(process, log)


def _check(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.returncode:
        tail = log.read_text(errors="replace")[-3000:]
        raise Hanging(f"the command ended with status {process.returncode}:\n{tail}")


def run_and_kill(scenario: Scenario, folder: Path, log: Path, rng: random.Random) -> bool:
    """Start the command and kill it at a random moment; returns whether the round counts."""
    before = scenario.work_done(folder)
    target = before + rng.randint(1, max(1, (scenario.total - before) // SHARE))
    jitter = rng.uniform(0, scenario.jitter_seconds)
    process = start(scenario, folder, log)
    deadline = time.monotonic() + STEP_LIMIT_SECONDS
    while scenario.work_done(folder) < target and process.poll() is None:
        if time.monotonic() > deadline:
            kill_everything(process)
            raise Hanging(f"no progress from {before} to {target} units; see {log}")
        time.sleep(POLL_SECONDS)
    time.sleep(jitter)
    if process.poll() is not None:
        _check(process, log)
        return False
    kill_everything(process)
    return not scenario.is_finished(folder) and scenario.work_done(folder) > before


def run_together(
    scenario: Scenario, folder: Path, log: Path, rng: random.Random, kills: int
) -> int:
    """Run all commands at once, to the end, and kill some; returns the kills that count.

    One that was killed starts again at once; all do when all have ended and something is missing.
    """
    running = {more: start(scenario, folder, log, more) for more in scenario.together}
    counted = 0
    try:
        while not scenario.is_finished(folder):
            if counted < kills:
                before = scenario.work_done(folder)
                target = before + rng.randint(1, max(1, (scenario.total - before) // SHARE))
                _wait_for_work(scenario, folder, target, running.values(), log)
                time.sleep(rng.uniform(0, scenario.jitter_seconds))
                more = rng.choice(sorted(running))
                alive = running[more].poll() is None
                kill_everything(running[more])
                counted += alive and not scenario.is_finished(folder)
                running[more] = start(scenario, folder, log, more)
            elif all(process.poll() is not None for process in running.values()):
                for process in running.values():
                    _check(process, log)
                running = {more: start(scenario, folder, log, more) for more in running}
            time.sleep(POLL_SECONDS)
        for process in running.values():
            process.wait(STEP_LIMIT_SECONDS)
            _check(process, log)
    finally:
        for process in running.values():
            kill_everything(process)
    return counted


def _wait_for_work(
    scenario: Scenario,
    folder: Path,
    target: int,
    running: Iterable[subprocess.Popen[bytes]],
    log: Path,
) -> None:
    deadline = time.monotonic() + STEP_LIMIT_SECONDS
    while scenario.work_done(folder) < target and not scenario.is_finished(folder):
        if all(process.poll() is not None for process in running):
            return
        if time.monotonic() > deadline:
            raise Hanging(f"no progress to {target} units; see {log}")
        time.sleep(POLL_SECONDS)


def run_rounds(scenario: Scenario, rounds: int, seed: int, scratch: Path) -> tuple[int, int]:
    """Kill until `rounds` kills count; returns the rounds and how many of them ended identical."""
    rng = random.Random(seed)
    log = scratch / "log.txt"
    run_to_end(scenario, scratch / "undisturbed", log)
    expected = scenario.digests(scratch / "undisturbed")
    killed = identical = 0
    while killed < rounds:
        folder = scratch / "disturbed"
        here = 0
        if len(scenario.together) > 1:
            here = run_together(scenario, folder, log, rng, min(KILLS, rounds - killed))
        while not scenario.is_finished(folder) and killed + here < rounds:
            here += run_and_kill(scenario, folder, log, rng)
        run_to_end(scenario, folder, log)  # finishes it, or says that it is finished
        same = scenario.digests(folder) == expected
        killed += here
        identical += here if same else 0
        print(f"{killed} rounds, {identical} identical", flush=True)
        if not same:
            _show_difference(scenario.digests(folder), expected)
        shutil.rmtree(folder)
    return killed, identical


def _show_difference(found: dict[str, str], expected: dict[str, str]) -> None:
    for name in sorted({*found, *expected}):
        if found.get(name) != expected.get(name):
            print(f"  different: {name}", flush=True)


def make_scenario(what: str, scratch: Path) -> Scenario:
    """The scenario of that name, with what it needs in `scratch`."""
    if what == "build":
        return build_scenario()
    if what == "slices":
        return slices_scenario()
    return train_scenario(build_training_shards(scratch / "shards"))


def main() -> int:
    """Run the rounds, print and write the figures; 1 if any end was not identical."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["build", "slices", "train"])
    parser.add_argument("--rounds", type=int, default=10, help="kills that count")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wholeword-chaos-") as scratch:
        try:
            scenario = make_scenario(arguments.what, Path(scratch))
            rounds, identical = run_rounds(
                scenario, arguments.rounds, arguments.seed, Path(scratch)
            )
        except Hanging as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    threads = len(os.sched_getaffinity(0))
    figures = {
        "rounds": Result(rounds, "rounds", threads),
        "identical": Result(identical, "rounds", threads),
    }
    write_json(arguments.json, f"chaos_{arguments.what}", figures)
    return int(identical < rounds)


if __name__ == "__main__":
    sys.exit(main())
