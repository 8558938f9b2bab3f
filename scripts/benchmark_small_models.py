"""Training speed of a small model, by the real command, beside another checkout of this repository.

    python scripts/benchmark_small_models.py                          # bert-tiny, product reviews
    python scripts/benchmark_small_models.py --beside ../before --rounds 3 --json out.json

Both take turns. Each run is `train/pretrain.py` with its defaults but the micro-batch; what counts
is tokens/s in metrics.jsonl, a value for every ten steps, the first left out. The median says what
a run takes, the best tenth what the machine does when nothing disturbs it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

from scripts.benchmark_report import Result, show, write_json  # noqa: E402
from scripts.benchmark_training import build_reviews  # noqa: E402

EVERY = 10  # steps of one value
ROWS = ("--max-length", "128")


def measure(checkout: Path, data: Path, model: str, rows: int, steps: int) -> list[float]:
    """Tokens a second, a value for every `EVERY` steps but the first."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "train/pretrain.py", "--deepspeed", "ds_configs/zero2.json"),
            *("--data", str(data), "--model", model, "--output-dir", folder),
            *("--per-device-train-batch-size", str(rows), "--max-steps", str(steps)),
            *("--logging-steps", str(EVERY), "--eval-steps", "0", "--save-steps", "0"),
        ]
        subprocess.run(command, cwd=checkout, check=True, stdout=subprocess.DEVNULL)
        lines = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    train = [record for record in map(json.loads, lines) if record["kind"] == "train"]
    return [record["tokens_per_second"] for record in train[1:]]


def main() -> None:
    """Measure every checkout in turn, and print medians and best tenths."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="shards; default: each builds its own of the reviews"
    )
    parser.add_argument("--model", default="bert-tiny", help="a preset")
    parser.add_argument("--rows", type=int, nargs="*", default=[8, 32], help="in a micro-batch")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--beside", type=Path, help="another checkout")
    parser.add_argument("--json", type=Path, help="where to write the results")
    options = parser.parse_args()
    checkouts = {"here": ROOT} | ({"beside": options.beside.resolve()} if options.beside else {})
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = {
            name: options.data or build_reviews(Path(folder) / name, *ROWS, checkout=checkout)
            for name, checkout in checkouts.items()
        }
        for _ in range(options.rounds):
            for rows in options.rows:
                for name, checkout in checkouts.items():
                    values = measure(
                        checkout, data[name].resolve(), options.model, rows, options.steps
                    )
                    found.setdefault(f"{name}, {rows} rows", []).extend(values)
    results, lines = {}, []
    for name, values in found.items():
        best = statistics.quantiles(values, n=10)[-1]
        median = statistics.median(values)
        results[name] = Result(median, "tokens/s")
        results[f"{name}, best tenth"] = Result(best, "tokens/s")
        lines.append([name, f"{median:,.0f}", f"{best:,.0f}"])
    show(f"{options.model}, tokens/s", ["", "median", "best tenth"], lines, [])
    write_json(options.json, "small_models", results)


if __name__ == "__main__":
    main()
