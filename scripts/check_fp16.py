"""Does fp16 train as fp32 does, through its first overflows? Every ZeRO stage, on a CPU.

    python scripts/check_fp16.py [--stages 0 1 2 3] [--json fp16.json]

`bert-tiny` is trained on the Chinese sample for some 200 steps that count, sixteen micro-batches a
step, in fp32, and in fp16 from a loss scale of 2^32, which overflows until it has come down.
Compared are validation losses at the end: the same rows, the same masks. Exits with 1 where they
differ by more than 0.05.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.benchmark_report import Result, show, write_json  # noqa: E402

STEPS, SKIPPED = 200, 18
BAND = 0.05
OPTIONS = (
    *("--model", "bert-tiny", "--per-device-train-batch-size", "1", "--learning-rate", "1e-3"),
    *("--gradient-accumulation-steps", "16", "--lr-scheduler-type", "constant"),
    *("--eval-steps", "100000", "--save-steps", "0", "--logging-steps", "1"),
    *("--report-to", "none"),
)


def run(*command: str) -> None:
    """Run a command of the toolkit; its output is shown where it fails."""
    environment = os.environ | {"WHOLEWORD_CPU_FP16": "1"}
    result = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if result.returncode:
        sys.exit(result.stdout + result.stderr)


def train(folder: Path, precision: str, stage: int, steps: int) -> tuple[float, int]:
    """The validation loss at the end, and how many steps changed the weights."""
    config = json.loads((ROOT / "ds_configs" / f"zero{stage}.json").read_text())
    config["fp16"] |= {"initial_scale_power": 32, "hysteresis": 1}
    file = folder / f"{precision}-{stage}.json"
    file.write_text(json.dumps(config))
    output = file.with_suffix("")
    run(
        *("train/pretrain.py", "--data", str(folder / "shards"), "--output-dir", str(output)),
        *("--deepspeed", str(file), "--precision", precision, "--max-steps", str(steps)),
        *OPTIONS,
    )
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    scales = [record["loss_scale"] for record in records if "loss_scale" in record]
    skipped = sum(after < before for before, after in zip([2.0**32, *scales], scales, strict=False))
    return [r["loss"] for r in records if r["kind"] == "validation"][-1], steps - skipped


def main() -> int:
    """Train in every stage; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results, rows = {}, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(
            *("-m", "preprocess", "build-shards", "--output", str(folder / "shards")),
            *("--max-length", "64"),
        )
        expected, _ = train(folder, "fp32", 2, STEPS)
        results["fp32"] = Result(expected, "nats")
        for stage in arguments.stages:
            loss, applied = train(folder, "fp16", stage, STEPS + SKIPPED)
            results[f"fp16, ZeRO {stage}"] = Result(loss, "nats")
            rows.append([f"fp16, ZeRO {stage}", str(applied), f"{loss:.4f}"])
            print(*rows[-1], flush=True)
    rows.insert(0, ["fp32, ZeRO 2", str(STEPS), f"{expected:.4f}"])
    show("validation loss at the end", ["run", "steps that counted", "nats"], rows, [])
    write_json(arguments.json, "fp16", results)
    return int(any(abs(result.value - expected) > BAND for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
