"""Real training runs in subprocesses, on tiny shards and a tiny model."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from tests.train.shard_factory import ShardSpec, make_shards

ROOT = Path(__file__).resolve().parents[2]
MODEL = ("--model", "bert-tiny", "--config-overrides", "hidden_size=32,intermediate_size=64")
STEPS = 6
_KEPT = ("HOME", "WHOLEWORD_CACHE", "WHOLEWORD_CPU_FP16", "TMPDIR")
# A step is 8 micro-batches of 2 rows, however it is cut over ranks and accumulation.
BATCH = ("--per-device-train-batch-size", "2", "--global-batch-size", "16")
COMMON = (*MODEL, *BATCH, "--max-steps", str(STEPS), "--logging-steps", "1", "--precision", "fp32")
COMMON = (*COMMON, "--learning-rate", "1e-2", "--save-steps", "1", "--save-total-limit", "2")


def make_data(folder: Path) -> Path:
    """Shards of random rows with the sample's tokenizer."""
    make_shards(folder, ShardSpec(rows=(400, 200), max_length=32, vocab_size=8000))
    shutil.copytree(ROOT / "samples" / "tokenizer", folder / "tokenizer")
    return folder


def environment() -> dict[str, str]:
    """No compiler, no network, one thread."""
    kept = {k: v for k, v in os.environ.items() if k in _KEPT}
    path = str(Path(sys.executable).parent)  # deepspeed is there, no compiler is
    return kept | {"PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def command(data: Path, output: Path, ranks: int, *options: str) -> list[str]:
    """The command line of a run; one rank goes without the launcher."""
    launcher = [sys.executable]
    if ranks > 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        deepspeed = str(Path(sys.executable).with_name("deepspeed"))
        launcher = [deepspeed, "--num_accelerators", str(ranks), "--master_port", str(port)]
    script = [*launcher, str(ROOT / "train" / "pretrain.py"), "--data", str(data)]
    return [*script, "--output-dir", str(output), *without(COMMON, options), *options]


def without(defaults: tuple[str, ...], options: tuple[str, ...]) -> list[str]:
    """Pairs of names and values less those whose names are given: nothing is given twice."""
    pairs = zip(defaults[::2], defaults[1::2], strict=True)
    return [word for pair in pairs if pair[0] not in options for word in pair]


def start(data: Path, output: Path, ranks: int, *options: str) -> subprocess.Popen[str]:
    """Begin to run; standard error comes with standard output."""
    return subprocess.Popen(
        command(data, output, ranks, *options),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(data: Path, output: Path, ranks: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Run to the end."""
    return subprocess.run(
        command(data, output, ranks, *options),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def records(output: Path, kind: str) -> list[dict[str, float]]:
    """The metrics of one kind."""
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def losses(output: Path) -> list[float]:
    """The training loss of every step."""
    return [record["loss"] for record in records(output, "train")]
