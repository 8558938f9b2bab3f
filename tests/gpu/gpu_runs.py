"""Runs the trainer on a GPU, one run after the other in one process; a group of them at a time.

    python -m tests.gpu.gpu_runs GROUP FOLDER

Prints {name: {"status", "output", "error", "losses", "layout"}} as its last line.
"""

import contextlib
import functools
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.gpu import syncs
from tests.gpu.device import DRY_RUN
from tests.train import runs
from tests.train.model_zoo import DEBERTA, make_model
from tests.train.option_runs import forget
from train import pretrain
from train.engine.process_group import process_group

STEPS = 6
LEARNING = 15 if DRY_RUN else 60  # steps
PRECISIONS = ("fp16", "bf16", "fp32")
STAGES = (1, 3) if DRY_RUN else (0, 1, 2, 3)
MOVES = {0: 3, 1: 0, 2: 3, 3: 1}  # to the stage that a stopped run goes on in
ACCUMULATIONS = (1, 2) if DRY_RUN else (1, 8)
COMMON = (
    *("--model", "bert-tiny", "--per-device-train-batch-size", "2", "--logging-steps", "1"),
    *("--config-overrides", "hidden_size=32,intermediate_size=64,num_hidden_layers=2"),
    *("--learning-rate", "1e-2", "--save-steps", "0", "--max-steps", str(STEPS)),
    *("--eval-steps", "0", "--report-to", "none"),
)


def account(folder: Path, name: str, *options: str) -> dict[str, Any]:
    """One run, and what it wrote down."""
    paths = ("--data", str(folder / "shards"), "--output-dir", str(folder / name))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = pretrain.main([*paths, *runs.without(COMMON, options), *options])
    written = (folder / name / "metrics.jsonl").exists()
    return {
        "status": status,
        "output": out.getvalue(),
        "error": err.getvalue(),
        "losses": runs.losses(folder / name) if written else [],
        "layout": "padded" if "-> padded batches" in out.getvalue() else "packed",
    }


def configuration(folder: Path, stage: int, offload: str = "") -> tuple[str, str]:
    """The option that names a file of a stage; its first loss scale is low: no step is skipped."""
    config = json.loads((runs.ROOT / "ds_configs" / f"zero{stage}{offload}.json").read_text())
    config["fp16"] |= {"initial_scale_power": 8}
    path = folder / f"zero{stage}{offload}.json"
    path.write_text(json.dumps(config))
    return "--deepspeed", str(path)


Runs = Iterator[tuple[str, dict[str, Any]]]


def matrix(folder: Path) -> Runs:
    """Every precision, stage and accumulation."""
    for precision in PRECISIONS:
        for stage in STAGES:
            for accumulation in ACCUMULATIONS:
                name = f"{precision} {stage} x {accumulation}"
                cut = ("--gradient-accumulation-steps", str(accumulation))
                made = configuration(folder, stage)
                yield name, account(folder, name, *made, *cut, "--precision", precision)


def learning(folder: Path) -> Runs:
    """Steps enough to learn which characters are common, on the sample."""
    command = [sys.executable, "-m", "preprocess", "build-shards", "--output"]
    shutil.rmtree(folder / "shards")
    subprocess.run([*command, str(folder / "shards")], cwd=runs.ROOT, check=True, stdout=sys.stderr)
    for precision in PRECISIONS:
        for stage in STAGES:
            name = f"{precision} {stage}"
            longer = ("--max-steps", str(LEARNING), "--logging-steps", str(LEARNING // 3))
            options = (*configuration(folder, stage), *longer, "--learning-rate", "3e-3")
            yield name, account(folder, name, *options, "--precision", precision)


def resumed(folder: Path, precision: str) -> Runs:
    """A run that was stopped after half of its steps goes on, in its stage and in another one."""
    saving = ("--save-steps", str(STEPS // 2), "--save-total-limit", "0", "--precision", precision)
    for stage in STAGES:
        name = f"{precision} {stage}"
        options = (*configuration(folder, stage), *saving)
        yield f"{name} whole", account(folder, name, *options)
        for now in (stage, MOVES[stage]):
            copy = f"{name} on in {now}"
            shutil.copytree(folder / name, folder / copy)
            forget(folder / copy, STEPS // 2)
            options = (*configuration(folder, now), *saving)
            yield copy, account(folder, copy, *options)


def offloaded(folder: Path) -> Runs:
    """Optimizer states (and weights) in CPU memory; DeepSpeed's CPU Adam has to be compiled."""
    for precision in ("fp16", "bf16"):
        for stage in (2, 3):
            name = f"{precision} {stage}"
            made = configuration(folder, stage, "_offload")
            yield name, account(folder, name, *made, "--precision", precision)


def compiled(folder: Path) -> Runs:
    """With and without torch.compile; packs and, in fp32, padded batches."""
    # Compiled code draws other numbers for dropout.
    small = f"{COMMON[COMMON.index('--config-overrides') + 1]},hidden_dropout_prob=0"
    for precision in PRECISIONS:
        options = (*configuration(folder, 2), "--precision", precision)
        options += ("--config-overrides", small)
        yield f"{precision} as it is", account(folder, f"{precision} as it is", *options)
        name = f"{precision} compiled"
        yield name, account(folder, name, *options, "--torch-compile", "true")


def padded(folder: Path) -> Runs:
    """Models and precisions without packs; DeBERTa has buffers that ZeRO-3 leaves alone."""
    config = DEBERTA
    config.vocab_size = 8000
    make_model(config).save_pretrained(folder / "deberta")
    model = ("--model", str(folder / "deberta"), "--config-overrides", "")
    for precision in PRECISIONS:
        for stage in STAGES:
            name = f"deberta {precision} {stage}"
            options = (*configuration(folder, stage), "--precision", precision)
            yield name, account(folder, name, *model, *options)


def synchronizing(folder: Path) -> Runs:
    """Steps in which every wait for the GPU is noted."""
    for precision in ("fp16", "bf16"):
        for stage in STAGES:
            name = f"{precision} {stage}"
            options = (*configuration(folder, stage), "--precision", precision)
            quiet = ("--logging-steps", "1000", "--max-steps", str(syncs.LAST + 2))
            with syncs.recording(pretrain) as found:
                made = account(folder, name, *options, *quiet)
            yield name, made | {"syncs": found}


GROUPS = {
    "matrix": matrix,
    "learning": learning,
    **{f"resumed {name}": functools.partial(resumed, precision=name) for name in PRECISIONS},
    "offloaded": offloaded,
    "compiled": compiled,
    "padded": padded,
    "synchronizing": synchronizing,
}


def main(group: str, folder: Path) -> dict[str, dict[str, Any]]:
    runs.make_data(folder / "shards")
    with process_group() as ranks:
        # DeepSpeed remembers the group of processes that it first saw, so all runs share one.
        pretrain.process_group = lambda *_: contextlib.nullcontext(ranks)
        return dict(GROUPS[group](folder))


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
