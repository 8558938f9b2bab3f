"""Runs the trainer on the ranks of one process group, one configuration after the other.

    RANK=0 WORLD_SIZE=2 ... python -m tests.train.equal_runs FOLDER NAME:STAGE:PRECISION ...

Every run is of six steps of eight micro-batches over all ranks, into FOLDER/NAME, on FOLDER/shards.
"""

import json
import os
import sys
from pathlib import Path

os.environ["WHOLEWORD_CPU_FP16"] = "1"

from tests.train import runs
from train import pretrain

# Adam divides by the gradients' own size, so a gradient that is only rounding moves its weight as
# far as any other. A larger epsilon keeps rounding what it is, and weights comparable.
EPSILON = 1e-3


def configuration(output: Path, stage: int) -> Path:
    """A file of a stage, beside the run; every rank writes the same."""
    config = json.loads((runs.ROOT / "ds_configs" / f"zero{stage}.json").read_text())
    config["optimizer"]["params"]["eps"] = EPSILON
    path = output.with_suffix(f".{os.environ['RANK']}.json")
    path.write_text(json.dumps(config))
    return path


def main(folder: Path, wanted: list[str]) -> int:
    """Run all; the highest exit status."""
    statuses = []
    with runs.many_runs():
        for name, stage, precision in (text.split(":") for text in wanted):
            options = ("--deepspeed", str(configuration(folder / name, int(stage))))
            options = (*options, "--precision", precision, "--save-steps", "0")
            paths = ("--data", str(folder / "shards"), "--output-dir", str(folder / name))
            statuses.append(pretrain.main([*paths, *runs.without(runs.COMMON, options), *options]))
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
