"""Does the gradient depend on how a step is cut? Weights after six steps, cut in several ways.

    python scripts/measure_cuts.py [--precisions fp32 bf16 fp16] [--json cuts.json]

A step of eight micro-batches is cut over ranks and accumulation (1 x 8, 2 x 4, 4 x 2) and over ZeRO's
stages; every run starts from the same weights and reads the same rows. Shown is the largest difference
of any weight to the run of one rank in stage 2, and how far six steps moved the weights at most.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from scripts.benchmark_report import Result, show, write_json  # noqa: E402
from tests.train import runs  # noqa: E402

CUTS = [(1, 2), (2, 2), (4, 2), (2, 1), (2, 3)]  # ranks, stage; the first is the measure
# A larger epsilon, or the rounding of a gradient near 0 decides the sign of a whole step.
ADAM = {"betas": [0.9, 0.98], "eps": 1e-3}


def configuration(folder: Path, stage: int, precision: str, accumulate: str) -> Path:
    """A DeepSpeed file of a stage."""
    config = json.loads((ROOT / "ds_configs" / f"zero{stage}.json").read_text())
    config["optimizer"]["params"] |= ADAM
    if precision != "fp32":
        config["data_types"] = {"grad_accum_dtype": accumulate}
    path = folder / f"{precision}-{accumulate}-{stage}.json"
    path.write_text(json.dumps(config))
    return path


def weights(folder: Path, ranks: int, config: Path, precision: str, steps: int) -> torch.Tensor:
    """All weights after a run, end to end."""
    output = folder / f"{config.stem}-{ranks}-{steps}"
    options = ("--deepspeed", str(config), "--precision", precision, "--max-steps", str(steps))
    result = runs.run(folder / "shards", output, ranks, *options, "--eval-steps", "0")
    if result.returncode:
        sys.exit(result.stdout + result.stderr)
    tensors = load_file(output / "final" / "model.safetensors")
    return torch.cat([tensors[name].float().flatten() for name in sorted(tensors)])


def main() -> None:
    """Run every cut and show the differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16", "fp16"])
    parser.add_argument("--accumulate", nargs="+", default=["fp32", "16 bits"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ["WHOLEWORD_CPU_FP16"] = "1"
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs.make_data(folder / "shards")
        for precision in arguments.precisions:
            for kind in arguments.accumulate if precision != "fp32" else ["fp32"]:
                accumulate = precision if kind == "16 bits" else kind
                key = f"{precision}, gradients in {accumulate}"
                for ranks, stage in CUTS:
                    config = configuration(folder, stage, precision, accumulate)
                    found = weights(folder, ranks, config, precision, runs.STEPS)
                    if (ranks, stage) == CUTS[0]:
                        measure = found
                        first = weights(folder, ranks, config, precision, 1)
                        moved = float((found - first).abs().max())
                        results[f"{key}, moved"] = Result(moved, "weight")
                        continue
                    cut = f"{ranks} x {8 // ranks}, ZeRO {stage}"
                    difference = float((found - measure).abs().max())
                    results[f"{key}, {cut}"] = Result(difference, "weight")
                    print(f"{key}, {cut}: {difference:.2e} of {moved:.2e}", flush=True)
    rows = [[key, f"{result.value:.2e}"] for key, result in results.items()]
    show("largest difference of a weight after six steps", ["cut", "difference"], rows, [])
    write_json(arguments.json, "cuts", results)


if __name__ == "__main__":
    main()
