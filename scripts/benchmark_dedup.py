"""Time and memory of `--dedup documents` on many short documents with planted copies.

    python scripts/benchmark_dedup.py [--documents 20000000] [--copies 0.25] [--workers 2]

Writes the documents to a temporary folder (some 40 bytes each), builds them once without and once
with `--dedup documents`, and checks that exactly the planted copies were left out. Memory is the
largest resident size of any one process of the command.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from scripts.benchmark_preprocess import MEASURE  # noqa: E402

CHUNK = 1_000_000


def write_documents(path: Path, documents: int, copies: float) -> int:
    """Write lines, a share of which repeat an earlier one at random; returns how many do."""
    rng = np.random.default_rng(1)
    distinct = planted = 0
    with path.open("w", encoding="utf-8") as file:
        for begin in range(0, documents, CHUNK):
            count = min(CHUNK, documents - begin)
            repeats = rng.random(count) < copies
            repeats[0] &= begin > 0
            fresh = np.cumsum(~repeats) + distinct
            numbers = np.where(repeats, (rng.random(count) * fresh).astype(np.int64), fresh - 1)
            distinct, planted = int(fresh[-1]), planted + int(repeats.sum())
            file.writelines(f"and the word of number {n} came to {n % 977}.\n" for n in numbers)
    return planted


def build(source: Path, output: Path, workers: int, *more: str) -> tuple[float, int, dict]:
    """Seconds, MiB of the largest process, and what the command prints."""
    command = [sys.executable, "-m", "preprocess", "build-shards", "--json", "--input", str(source)]
    command += ["--output", str(output), "--workers", str(workers), "--segmenter", "none", *more]
    begin = time.perf_counter()
    measure = MEASURE.replace("stdout=subprocess.DEVNULL", "stdout=sys.stderr")
    finished = subprocess.run(
        [sys.executable, "-I", "-c", measure, *command],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    summary = json.loads(finished.stderr.strip().splitlines()[-1])
    return time.perf_counter() - begin, int(finished.stdout) // 1024, summary


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=20_000_000)
    parser.add_argument("--copies", type=float, default=0.25)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "documents.txt"
        planted = write_documents(source, arguments.documents, arguments.copies)
        size = source.stat().st_size / 1e6
        print(f"{arguments.documents:,} documents, {size:,.0f} MB, {planted:,} of them copies")
        line = folder / "line.txt"
        line.write_text("in the beginning\n" * 9, encoding="utf-8")
        build(line, folder / "warm", 1)  # compiles what is not there yet
        for label, more in (("without", ()), ("with", ("--dedup", "documents"))):
            output = folder / label
            seconds, memory, summary = build(source, output, arguments.workers, *more)
            print(f"{label}: {seconds:.0f} s, largest process {memory:,} MiB")
        hashes = sum(file.stat().st_size for file in output.glob(".build/hashes/*")) / 1e6
        left_out = summary["counts"]["documents_duplicate"]
        print(f"left out: {left_out:,}; hashes that stay on disk: {hashes:,.0f} MB")
        if left_out != planted:
            sys.exit("these are not the planted copies")


if __name__ == "__main__":
    main()
