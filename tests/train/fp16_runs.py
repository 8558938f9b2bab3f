"""Runs the trainer in fp16 on a CPU, one run after the other in one process.

    python -m tests.train.fp16_runs FOLDER

Prints {name: {"status", "error", "losses", "steps", "skipped", "scales", "rates", "cursor"}} as its
last line; `steps` are those of the newest checkpoint.
"""

import contextlib
import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

os.environ["WHOLEWORD_CPU_FP16"] = "1"

from tests.train import runs
from train import pretrain
from train.engine import checkpoint

COMMON = (
    *("--model", "bert-tiny", "--per-device-train-batch-size", "2", "--logging-steps", "1"),
    *("--config-overrides", "hidden_size=32,intermediate_size=64,num_hidden_layers=1"),
    *("--precision", "fp16", "--learning-rate", "1e-2", "--save-steps", "1"),
    *("--eval-steps", "0", "--report-to", "none"),
)
THROUGH = ((0, 16), (1, 8), (2, 1), (3, 8))
STEPS = 22  # some 16 are skipped while a scale of 2^32 comes down, the others count


def configuration(folder: Path, stage: int, name: str = "", **fp16: float) -> tuple[str, str]:
    """The option that names a file of a stage with other values of fp16."""
    config = json.loads((runs.ROOT / "ds_configs" / f"zero{stage}.json").read_text())
    config["fp16"] |= {"hysteresis": 1} | fp16
    path = folder / f"{name or 'zero'}{stage}.json"
    path.write_text(json.dumps(config))
    return "--deepspeed", str(path)


def account(folder: Path, name: str, *options: str) -> dict[str, Any]:
    """One run, and what it wrote down."""
    paths = ("--data", str(folder / "shards"), "--output-dir", str(folder / name))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = pretrain.main([*paths, *runs.without(COMMON, options), *options])
    records = (
        runs.records(folder / name, "train") if (folder / name / "metrics.jsonl").exists() else []
    )
    saved = checkpoint.checkpoints(folder / name / "checkpoints")
    return {
        "status": status,
        "output": out.getvalue(),
        "error": err.getvalue(),
        "losses": [record["loss"] for record in records],
        "scales": [record.get("loss_scale") for record in records],
        "rates": [record["learning_rate"] for record in records],
        "saved": [int(path.name[-8:]) for path in saved],
        "cursor": checkpoint.read_progress(saved[0]).cursor if saved else None,
    }


def forget(run: Path, step: int) -> None:
    """Leave a run as if it had been killed after the checkpoint of a step."""
    shutil.rmtree(run / "final", ignore_errors=True)
    for saved in checkpoint.checkpoints(run / "checkpoints"):
        if int(saved.name[-8:]) > step:
            shutil.rmtree(saved)


def run_all(folder: Path) -> dict[str, dict[str, Any]]:
    found = {}
    # Every stage (0 runs as 1) and accumulations 1, 8, 16 through the first overflows.
    for stage, accumulation in THROUGH:
        through = configuration(folder, stage, "through", initial_scale_power=32)
        cut = ("--gradient-accumulation-steps", str(accumulation), "--max-steps", str(STEPS))
        found[f"through {stage} x {accumulation}"] = account(
            folder, f"through-{stage}-{accumulation}", *through, *cut, "--save-steps", "0"
        )
    # The same hundred steps in every precision.
    for precision in ("fp32", "bf16", "fp16"):
        level = configuration(folder, 2, "level", initial_scale_power=12)
        hundred = ("--precision", precision, "--max-steps", "100", "--save-steps", "0")
        found[f"hundred {precision}"] = account(folder, f"hundred-{precision}", *level, *hundred)
    # Stopped amid overflows: on the same layout and in another stage, before a step counted and
    # after.
    options = ("--max-steps", "14", "--save-total-limit", "0")
    few = {"initial_scale_power": 24}  # 9 skipped steps
    whole = (*configuration(folder, 2, "few", **few), *options)
    found["never stopped"] = account(folder, "whole", *whole)
    for step, stage in ((4, 2), (12, 2), (4, 3), (12, 1), (12, 3)):
        name = f"stopped-{step}-{stage}"
        shutil.copytree(folder / "whole", folder / name)
        forget(folder / name, step)
        again = (*configuration(folder, stage, "few", **few), *options)
        found[f"stopped at {step}, on in {stage}"] = account(folder, name, *again)
    # An overflow at every step: the gradient is multiplied beyond what fp16 holds, at any scale.
    for stage in (1, 2, 3):
        forever = configuration(folder, stage, "forever", initial_scale_power=6)
        with overflowing():
            found[f"overflowing {stage}"] = account(
                folder, f"forever-{stage}", *forever, "--max-steps", "80"
            )
    # Weights that explode: the loss itself is no number.
    broken = (*configuration(folder, 2, "broken"), "--save-steps", "3", "--max-grad-norm", "0")
    broken = (*broken, "--learning-rate", "9", "--warmup-ratio", "0.5", "--max-steps", "60")
    broken = (*broken, "--save-total-limit", "3")
    found["exploding"] = account(folder, "exploding", *broken)
    found["exploding again"] = account(folder, "exploding", *broken)
    return found


@contextlib.contextmanager
def overflowing() -> Any:
    """Let every loss be so large that no scale keeps its gradient within fp16."""
    forward = pretrain.forward_micro_batch

    def enlarged(*arguments: Any) -> Any:
        sums = forward(*arguments)
        return type(sums)(sums.loss_sum * 1e30, sums.correct, sums.pair_loss_sum)

    pretrain.forward_micro_batch = enlarged
    try:
        yield
    finally:
        pretrain.forward_micro_batch = forward


def main(folder: Path) -> dict[str, dict[str, Any]]:
    runs.make_data(folder / "shards")
    with runs.many_runs():
        return run_all(folder)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
