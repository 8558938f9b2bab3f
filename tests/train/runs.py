"""Real training runs in processes of their own, on tiny shards and a tiny model."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from tests.train import preloaded
from tests.train.preloaded import ROOT
from tests.train.shard_factory import ShardSpec, make_shards
from train import pretrain
from train.engine.peers import Peers
from train.engine.process_group import Ranks, process_group

MODEL = ("--model", "bert-tiny", "--config-overrides", "hidden_size=32,intermediate_size=64")
STEPS = 6
_KEPT = ("HOME", "WHOLEWORD_CACHE", "WHOLEWORD_CPU_FP16", "TMPDIR")
# A step is 8 micro-batches of 2 rows, however it is cut over ranks and accumulation.
BATCH = ("--per-device-train-batch-size", "2", "--global-batch-size", "16")
COMMON = (*MODEL, *BATCH, "--max-steps", str(STEPS), "--logging-steps", "1", "--precision", "fp32")
COMMON = (*COMMON, "--learning-rate", "1e-2", "--save-steps", "1", "--save-total-limit", "2")


def make_data(folder: Path, rows: tuple[int, int] = (400, 200)) -> Path:
    """Shards of random rows with the sample's tokenizer."""
    make_shards(folder, ShardSpec(rows=rows, max_length=32, vocab_size=8000))
    shutil.copytree(ROOT / "samples" / "tokenizer", folder / "tokenizer")
    return folder


def environment() -> dict[str, str]:
    """No compiler, no network, one thread."""
    kept = {k: v for k, v in os.environ.items() if k in _KEPT}
    path = str(Path(sys.executable).parent)  # deepspeed is there, no compiler is
    return kept | {"PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def command(data: Path, output: Path, *options: str) -> list[str]:
    """The command line of a run of one rank."""
    script = [sys.executable, str(ROOT / "train" / "pretrain.py"), "--data", str(data)]
    return [*script, "--output-dir", str(output), *without(COMMON, options), *options]


def free_port() -> str:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def without(defaults: tuple[str, ...], options: tuple[str, ...]) -> list[str]:
    """Pairs of names and values less those whose names are given: nothing is given twice."""
    pairs = zip(defaults[::2], defaults[1::2], strict=True)
    return [word for pair in pairs if pair[0] not in options for word in pair]


def launch(data: Path, output: Path, ranks: int, *options: str) -> subprocess.Popen[str]:
    """Begin the real command, of several ranks with DeepSpeed's launcher."""
    words = command(data, output, *options)
    if ranks > 1:
        launcher = str(Path(sys.executable).with_name("deepspeed"))
        place = ("--num_accelerators", str(ranks), "--master_port", free_port())
        words = [launcher, *place, *words[1:]]
    return subprocess.Popen(
        words,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start(data: Path, output: Path, *options: str) -> preloaded.Process:
    """Begin to run on one rank; standard error comes with standard output."""
    return preloaded.start(command(data, output, *options), environment(), merged=True)


def run(data: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run to the end on one rank."""
    return preloaded.run(command(data, output, *options), environment())


def start_ranks(words: list[str], ranks: int) -> list[preloaded.Process]:
    """Begin a command on several ranks, as launchers start them."""
    return [preloaded.start(words, env, merged=True) for env in environments(ranks)]


def environments(ranks: int) -> list[dict[str, str]]:
    """What launchers tell each rank of a group."""
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": str(ranks)}
    return [
        environment() | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        for rank in range(ranks)
    ]


def run_ranks(words: list[str], ranks: int) -> str:
    """Run a command to its end on several ranks; what all said."""
    processes = start_ranks(words, ranks)
    said = "\n".join(process.communicate(timeout=300)[0] for process in processes)
    assert [process.wait() for process in processes] == [0] * ranks, said
    return said


def run_new_ranks(words: list[str], ranks: int) -> str:
    """The same in processes that have loaded nothing, whose memory is their own."""
    processes = [
        subprocess.Popen(
            words, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for env in environments(ranks)
    ]
    said = "\n".join(process.communicate(timeout=300)[0] for process in processes)
    assert [process.wait() for process in processes] == [0] * ranks, said
    return said


@contextlib.contextmanager
def many_runs() -> Iterator[Ranks]:
    """Let one process run the trainer again and again, without what takes seconds each time.

    DeepSpeed remembers the group of processes that it first saw, so all runs share one, whose
    processes have met.
    """
    with contextlib.ExitStack() as stack:
        ranks = stack.enter_context(process_group())
        shared = mock.patch.object(
            pretrain, "process_group", lambda *_: contextlib.nullcontext(ranks)
        )
        met = mock.patch.object(pretrain, "meeting", lambda *_: contextlib.nullcontext(Peers()))
        peak = mock.patch("train.model.flops._measured_peak", lambda *_: 1e12)
        curves = mock.patch("train.run.finish.draw_curves")
        for patch in (shared, met, peak, curves):
            stack.enter_context(patch)
        yield ranks


def run_module(name: str, *arguments: str) -> str:
    """Run a module of the tests to its end; its last line."""
    result = preloaded.run([sys.executable, "-m", name, *arguments], environment(), timeout=400)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.splitlines()[-1]


def records(output: Path, kind: str) -> list[dict[str, float]]:
    """The metrics of one kind."""
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def losses(output: Path) -> list[float]:
    """The training loss of every step."""
    return [record["loss"] for record in records(output, "train")]
