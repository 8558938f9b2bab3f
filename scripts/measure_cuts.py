"""Does a step depend on how it is cut? The same, cut over ranks, accumulation and ZeRO's stages.

    python scripts/measure_cuts.py [--precisions fp32 bf16 fp16] [--steps 1] [--json cuts.json]

A step of eight micro-batches is cut into 1 x 8, 2 x 4 and 4 x 2 (ranks x accumulation); every run
starts from the same weights and reads the same rows. Shown is the largest difference of any weight
to the run of one rank in stage 2, as a share of how far the steps moved the weights at most, for
gradients that are summed and sent in fp32, and in the 16 bits of the model.
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
# How gradients are summed over micro-batches, and sent to other ranks; 16 is the model's own type.
KINDS = {"16, 16": (16, 16), "32, 16": (32, 16), "32, 32": (32, 32)}


def configuration(folder: Path, stage: int, precision: str, kind: str) -> Path:
    """A DeepSpeed file of a stage."""
    config = json.loads((ROOT / "ds_configs" / f"zero{stage}.json").read_text())
    config["optimizer"]["params"] |= ADAM
    summed, sent = (precision if bits == 16 else "fp32" for bits in KINDS[kind])
    config |= {"data_types": {"grad_accum_dtype": summed}, "communication_data_type": sent}
    path = folder / f"{precision}-{kind.replace(', ', '-')}-{stage}.json"
    path.write_text(json.dumps(config))
    return path


def weights(folder: Path, ranks: int, config: Path, precision: str, steps: int) -> torch.Tensor:
    """All weights after a run, end to end; in its steps the rate stays as it is."""
    output = folder / f"{config.stem}-{ranks}-{steps}"
    options = ["--deepspeed", str(config), "--precision", precision, "--max-steps", str(steps)]
    options += ["--warmup-ratio", "0", "--lr-scheduler-type", "constant", "--eval-steps", "0"]
    runs.run_ranks(runs.command(folder / "shards", output, *options), ranks)
    return flat(output / "final")


def flat(model: Path) -> torch.Tensor:
    """All weights of a model, end to end, in fp32."""
    tensors = load_file(model / "model.safetensors")
    return torch.cat([tensors[name].float().flatten() for name in sorted(tensors)])


def main() -> None:
    """Run every cut and show the differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16", "fp16"])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--cuts", type=int, default=len(CUTS), help="how many of the cuts")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ["WHOLEWORD_CPU_FP16"] = "1"
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs.make_data(folder / "shards")
        for precision in arguments.precisions:
            kinds = arguments.kinds if precision != "fp32" else ["32, 32"]
            for kind in kinds:
                measure = torch.empty(0)
                for ranks, stage in CUTS[: arguments.cuts]:
                    config = configuration(folder, stage, precision, kind)
                    found = weights(folder, ranks, config, precision, arguments.steps)
                    if not len(measure):
                        measure = found
                        continue
                    moved = 1e-2 * arguments.steps  # Adam moves a weight by about the rate a step
                    share = float((found - measure).abs().max()) / moved
                    key = (
                        f"{precision}, gradients {kind} bits, {ranks} x {8 // ranks}, ZeRO {stage}"
                    )
                    results[key] = Result(share, "share of the way")
                    print(f"{key}: {share:.2e}", flush=True)
    rows = [[key, f"{result.value:.2e}"] for key, result in results.items()]
    show(
        f"largest difference of a weight after {arguments.steps} steps",
        ["cut", "share of the way"],
        rows,
        [],
    )
    write_json(arguments.json, "cuts", results)


if __name__ == "__main__":
    main()
