"""Time and memory of `--dedup documents`, or of `--near-dedup`, on documents with planted copies.

    python scripts/benchmark_dedup.py [--documents 20000000] [--copies 0.25] [--workers 2]
    python scripts/benchmark_dedup.py --near-dedup 0.8 --documents 200000

Writes the documents to a temporary folder, builds them once without and once with the option, and
checks what was left out: of lines of some 40 bytes exactly the planted copies; of near copies
(three hundred characters of the Chinese sample, three of which are others) it prints the share.
Time is the wall's and, of all processes, the processor's. Memory is the largest resident size of
any one process.
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


def write_near_documents(path: Path, documents: int, copies: float) -> int:
    """Write documents of three places of a novel each, a share of them earlier ones less 1%."""
    rng = np.random.default_rng(1)
    novel = "".join((ROOT / "samples/zh/sanguo.txt").read_text(encoding="utf-8").split())
    letters = np.array([ord(character) for character in novel], np.uint32)
    fresh: list[np.ndarray] = []
    with path.open("w", encoding="utf-8") as file:
        for _ in range(documents):
            if fresh and rng.random() < copies:
                text = fresh[rng.integers(len(fresh))].copy()
                text[rng.integers(0, len(text), 3)] = rng.integers(0x4E00, 0x9FA0, 3)
            else:
                places = rng.integers(0, len(letters) - 100, 3)
                text = np.concatenate([letters[place : place + 100] for place in places])
                fresh.append(text)
            file.write("".join(map(chr, text)) + "\n")
    return documents - len(fresh)


def build(source: Path, output: Path, workers: int, *more: str) -> tuple[str, dict]:
    """Seconds and MiB of the largest process in words, and what the command prints."""
    command = [sys.executable, "-m", "preprocess", "build-shards", "--json", "--input", str(source)]
    command += ["--output", str(output), "--workers", str(workers), "--segmenter", "none", *more]
    begin, before = time.perf_counter(), sum(os.times()[2:4])
    measure = MEASURE.replace("stdout=subprocess.DEVNULL", "stdout=sys.stderr")
    finished = subprocess.run(
        [sys.executable, "-I", "-c", measure, *command],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, processor = time.perf_counter() - begin, sum(os.times()[2:4]) - before
    memory = int(finished.stdout) // 1024
    figures = f"{seconds:.0f} s ({processor:.0f} s of processor), largest process {memory:,} MiB"
    return figures, json.loads(finished.stderr.strip().splitlines()[-1])


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=20_000_000)
    parser.add_argument("--copies", type=float, default=0.25)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--near-dedup", type=float, help="measure near copies, such as 0.8")
    arguments = parser.parse_args()
    near = arguments.near_dedup is not None
    option = ["--near-dedup", str(arguments.near_dedup)] if near else ["--dedup", "documents"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "documents.txt"
        write = write_near_documents if near else write_documents
        planted = write(source, arguments.documents, arguments.copies)
        size = source.stat().st_size / 1e6
        print(f"{arguments.documents:,} documents, {size:,.0f} MB, {planted:,} of them copies")
        line = folder / "line.txt"
        line.write_text("in the beginning\n" * 9, encoding="utf-8")
        build(line, folder / "warm", 1)  # compiles what is not there yet
        for label, more in (("without", []), ("with", option)):
            output = folder / label
            figures, summary = build(source, output, arguments.workers, *more)
            print(f"{label}: {figures}")
        hashes = sum(file.stat().st_size for file in output.glob(".build/hashes/*")) / 1e6
        left_out = summary["counts"][f"documents_{'near_' if near else ''}duplicate"]
        share = f" ({left_out / planted:.1%} of the planted ones)" if near else ""
        print(f"left out: {left_out:,}{share}; hashes that stay on disk: {hashes:,.0f} MB")
        if not near and left_out != planted:
            sys.exit("these are not the planted copies")


if __name__ == "__main__":
    main()
