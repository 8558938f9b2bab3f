"""The commands of an adaptation, which a person could give too; each continues where it stopped."""

import math
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from preprocess.errors import WholewordError
from train.adapt.options import MASKINGS, AdaptOptions
from train.adapt.rules import GENERAL_SHARE, Schedule
from train.evaluate.compare import LEARNING_RATES

ROOT = Path(__file__).resolve().parents[2]
_QUICK_RATES = (1e-4, 3e-4, 1e-3)
_VALIDATIONS = 10  # of a pretraining


def run_command(command: list[str], say: Callable[[str], None]) -> None:
    """Run a command and let it speak for itself.

    Raises:
        WholewordError: it failed; its own line stands before.
    """
    say(f"$ {shlex.join(command)}")
    words = command
    if command[0] == "python":  # -P: a `train` in the current folder is not ours
        words = [sys.executable, *(["-P"] if command[1] == "-m" else []), *command[1:]]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    status = call(words, {**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    if status in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    brief = shlex.join(command[:4])
    if status < 0:
        why = ", as the system does where memory is short" if status == -signal.SIGKILL else ""
        raise WholewordError(
            f"{brief} ... was ended by {signal.Signals(-status).name}{why}; run the same command "
            "again, it continues"
        )
    if status:
        raise WholewordError(
            f"{brief} ... has failed, as it says above; mend that and run the same command again, "
            "it continues"
        )


def call(words: list[str], environment: dict[str, str]) -> int:
    """The exit status of a command.

    Ctrl-C reaches the command too, which saves what it has before it ends: so this waits for it,
    where `subprocess.call` would kill it after a quarter of a second.

    Raises:
        KeyboardInterrupt: it was pressed, and the command has ended.
    """
    process = subprocess.Popen(words, env=environment)
    interrupted = False
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return status


def train_vocab(inputs: list[str], size: int, output: Path) -> list[str]:
    """Train a vocabulary."""
    return ["python", "-m", "preprocess", "train-vocab", *_repeat("--input", inputs),
            "--vocab-size", str(size), "--output", str(output)]  # fmt: skip


def build_shards(
    inputs: list[str], tokenizer: str, output: Path, max_length: int, validation: Path | None
) -> list[str]:
    """Build shards; without a validation file a share of the text is put aside."""
    given = [] if validation is None else ["--validation-input", str(validation)]
    return ["python", "-m", "preprocess", "build-shards", *_repeat("--input", inputs), *given,
            "--tokenizer", tokenizer, "--max-length", str(max_length),
            "--output", str(output)]  # fmt: skip


def pretrain(
    options: AdaptOptions,
    schedule: Schedule,
    name: str,
    seed: int,
    domain: Path,
    general: Path | None,
) -> list[str]:
    """Pretrain a model called `name` on the shards in `domain`."""
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 1
    start = ["deepspeed", "--quiet"] if devices > 1 else ["python"]
    micro, rows = batch_for(schedule, devices)
    steps = math.ceil(schedule.steps * schedule.rows / rows)
    due = str(max(1, steps // _VALIDATIONS))
    mixed = []
    if general is not None:
        weights = (1 / GENERAL_SHARE - 1, 1)
        mixed = [str(general), "--data-weights", *(f"{weight:g}" for weight in weights),
                 "--validation-data", f"general={general}"]  # fmt: skip
    return [*start, str(ROOT / "train" / "pretrain.py"),
            "--deepspeed", str(ROOT / "ds_configs" / "zero2.json"),
            "--model", options.model, "--data", str(domain), *mixed,
            "--output-dir", str(pretraining_folder(options, name, seed)),
            "--masking", MASKINGS.get(name, MASKINGS["words"]), "--seed", str(seed),
            "--max-steps", str(steps), "--learning-rate", f"{schedule.learning_rate:g}",
            "--global-batch-size", str(rows),
            "--per-device-train-batch-size", str(micro), "--warmup-ratio", "0.06",
            "--eval-steps", due, "--save-steps", due, "--save-total-limit", "1"]  # fmt: skip


def batch_for(schedule: Schedule, devices: int) -> tuple[int, int]:
    """Rows of a micro-batch and of the global batch: the schedule's, or near it what they divide.

    Args:
        schedule: has a power of two of rows, which three or six devices do not divide.
        devices: ranks of the run.
    """
    micro = max(1, min(schedule.micro_rows, schedule.rows // devices))
    return micro, micro * devices * max(1, schedule.rows // (micro * devices))


def pretraining_folder(options: AdaptOptions, name: str, seed: int) -> Path:
    """Where the run of a name and seed is."""
    return options.output / "runs" / f"{name}-{seed}"


def compare(
    options: AdaptOptions, tokenizer: str, names: list[str], shards: list[Path]
) -> list[str]:
    """Compare what the model was with what became of it."""
    seeds = range(1, options.pretraining_seeds + 1)
    models = [
        f"{name}=" + ",".join(str(pretraining_folder(options, name, s) / "best") for s in seeds)
        for name in names
    ]
    columns = options.columns
    given = ["--text-column", columns.text, "--label-column", columns.label]
    given += ["--pair-column", columns.pair] if columns.pair else []
    given += ["--test", str(options.test)] if options.test else []
    if not options.transductive:
        given += ["--seen-in", *map(str, shards)]
    rates = _QUICK_RATES if options.quick else LEARNING_RATES
    return ["python", "-m", "train", "compare", "--task", str(options.task), *given,
            "--models", f"before={before(options)}", *models, "--tokenizer", tokenizer,
            "--labels", ",".join(options.labels), "--seeds", str(options.seeds),
            "--learning-rates", ",".join(f"{rate:g}" for rate in rates),
            "--max-length", str(options.max_length),
            "--output", str(options.output / "report")]  # fmt: skip


def before(options: AdaptOptions) -> str:
    """What `compare` calls the model as it was."""
    from train.model.from_nothing import begins_from_nothing

    is_new = begins_from_nothing(options.model)
    return f"random:{options.model}" if is_new else options.model


def _repeat(option: str, values: list[str]) -> list[str]:
    return [word for value in values for word in (option, value)]
