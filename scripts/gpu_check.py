"""Checks that need a GPU; `scripts/gpu_check.sh` runs them where there is one.

1. Parity: packed attention and the masked-only head in fp16 and bf16, for every architecture of the
   tests. Against fp32, their loss and gradients may be off at most twice as far as those of the
   stock padded model in the same precision.
2. Speed: `train/pretrain.py` on BERT-base with rows of 512 tokens, in fp16, bf16, and compiled.
3. `scripts/benchmark_training.py`: the Hugging Face Trainer beside it (not with --quick).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

import torch  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402

from scripts.benchmark_report import machine, show  # noqa: E402
from tests.train.model_zoo import CONFIGS, make_model, make_pack, pad  # noqa: E402
from train.model.inputs import mlm_labels, model_inputs  # noqa: E402
from train.model.loss import masked_lm_loss, mlm_logits  # noqa: E402
from train.model.packed import prepare_packed  # noqa: E402

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
LENGTHS = [13, 20, 1, 3, 30, 17, 50]
SLACK = 1e-3  # two runs of one model in low precision differ by about this
RUNS = {
    "fp16": ["--precision", "fp16"],
    "bf16": ["--precision", "bf16"],
    "bf16_compiled": ["--precision", "bf16", "--torch-compile", "true"],
}
STEPS = 60

Training = tuple[float, torch.Tensor]  # loss, all gradients end to end, in fp32


# --------------------------------------------------------------------------------- parity


def train_once(model: Any, loss: torch.Tensor) -> Training:
    """A loss and its gradients."""
    loss.backward()
    flat = [parameter.grad.float().flatten() for parameter in model.parameters()]
    return float(loss.detach()), torch.cat(flat)


def stock(name: str, dtype: torch.dtype) -> Training:
    """Train the stock model on padded rows, with logits everywhere."""
    model = make_model(CONFIGS[name]).to("cuda", dtype)
    padded = pad(make_pack(LENGTHS), model.config.pad_token_id or 0)
    ids, mask = padded.input_ids.cuda(), padded.attention_mask.cuda()
    logits = model(input_ids=ids, attention_mask=mask).logits.float().flatten(0, 1)
    return train_once(model, cross_entropy(logits, padded.labels.cuda().flatten(), reduction="sum"))


def packed(name: str, dtype: torch.dtype, static: bool) -> Training:
    """Train the same model on a pack, with logits at masked positions."""
    model, device = make_model(CONFIGS[name]).to("cuda", dtype), torch.device("cuda")
    prepare_packed(model)
    batch = make_pack(LENGTHS, size=160, model=model)
    logits = mlm_logits(model(**model_inputs(batch, model, device, static=static)))
    return train_once(model, masked_lm_loss(logits, mlm_labels(batch, device, static=static)))


def distance(one: Training, other: Training) -> float:
    """The larger of the relative differences of loss and gradients."""
    loss = abs(one[0] - other[0]) / abs(other[0])
    return max(loss, float((one[1] - other[1]).norm() / other[1].norm()))


def check_parity() -> list[dict[str, Any]]:
    """Compare every architecture in every precision."""
    results = []
    for name in CONFIGS:
        exact = stock(name, torch.float32)
        for precision, dtype in DTYPES.items():
            allowed = 2 * distance(stock(name, dtype), exact) + SLACK
            off = max(distance(packed(name, dtype, static), exact) for static in (False, True))
            results.append(
                {"model": name, "precision": precision, "off": off, "allowed": allowed}
                | {"passed": off <= allowed}
            )
    return results


# ---------------------------------------------------------------------------------- speed


def build_shards(folder: Path) -> None:
    """Build the sample with a chapter a document, so that most rows have 512 tokens."""
    command = [sys.executable, "-m", "preprocess", "build-shards", "--output", str(folder)]
    subprocess.run([*command, "--document-separator", "blank-line"], cwd=ROOT, check=True)


def run_training(name: str, shards: Path, folder: Path) -> dict[str, float]:
    """Train BERT-base; returns the last line of metrics, which leaves the start out."""
    command = [
        *(sys.executable, "train/pretrain.py", "--deepspeed", "ds_configs/zero2.json"),
        *("--model", "bert-base", "--data", str(shards), "--output-dir", str(folder)),
        *("--per-device-train-batch-size", "64", "--max-steps", str(STEPS)),
        *("--logging-steps", str(STEPS // 2), "--eval-steps", "0", "--save-steps", "0"),
        *RUNS[name],
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if record["kind"] == "train"][-1]


def run_benchmark(shards: Path, folder: Path) -> dict[str, Any]:
    """Run the Trainer beside ours."""
    report = folder / "benchmark.json"
    command = [sys.executable, "scripts/benchmark_training.py", "--data", str(shards)]
    subprocess.run([*command, "--steps", "10", "--json", str(report)], cwd=ROOT, check=True)
    return json.loads(report.read_text())["results"]


# --------------------------------------------------------------------------------- report


def print_tables(parity: list[dict[str, Any]], speed: dict[str, dict[str, float]]) -> None:
    """Show what was found."""
    lines = [
        [
            row["model"],
            row["precision"],
            f"{row['off']:.1e}",
            f"{row['allowed']:.1e}",
            "ok" if row["passed"] else "WRONG",
        ]
        for row in parity
    ]
    title = "packed and masked-only against fp32"
    show(title, ["model", "precision", "relative error", "allowed", ""], lines, [])
    lines = [
        [
            name,
            f"{values['tokens_per_second']:,.0f}",
            f"{values['mfu']:.1%}",
            f"{values['data_wait']:.2%}",
        ]
        for name, values in speed.items()
    ]
    title = f"BERT-base, 512 tokens, {torch.cuda.get_device_name()}"
    show(title, ["", "tokens/s", "MFU", "data wait"], lines, [])


def as_results(
    parity: list[dict[str, Any]], speed: dict[str, dict[str, float]], peers: dict[str, Any]
) -> dict[str, Any]:
    """Put everything in the form that all benchmarks share."""
    wrong = sum(not row["passed"] for row in parity)
    results = {"parity_failures": {"value": wrong, "unit": "models", "threads": 1}}
    units = {"tokens_per_second": "tokens/s", "mfu": "share", "data_wait": "share"}
    for name, values in speed.items():
        for key, unit in units.items():
            results[f"{name}_{key}"] = {"value": values[key], "unit": unit, "threads": 1}
    return results | peers


def main() -> int:
    """Run all checks; exit status 1 if parity fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave the Trainer out")
    parser.add_argument("--json", type=Path, help="where to write the results")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu_check: torch sees no GPU here, so nothing was checked")
        return 0
    parity = check_parity()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_shards(folder / "shards")
        speed = {run: run_training(run, folder / "shards", folder / run) for run in RUNS}
        peers = {} if options.quick else run_benchmark(folder / "shards", folder)
    print_tables(parity, speed)
    if options.json:
        results = as_results(parity, speed, peers)
        computer = machine() | {"gpu": torch.cuda.get_device_name()}
        report = {"benchmark": "gpu_check", "machine": computer, "results": results}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(not all(row["passed"] for row in parity))


if __name__ == "__main__":
    sys.exit(main())
