"""Time and memory of `--dedup documents`, or of `--near-dedup`, on documents with planted copies.

    python scripts/benchmark_dedup.py [--documents 20000000] [--copies 0.25] [--workers 2]
    python scripts/benchmark_dedup.py --near-dedup 0.8 --documents 200000

Writes documents of some 40 bytes each to a temporary folder, builds them once without and once with
`--dedup documents`, and checks that exactly the planted copies were left out. Memory is the largest
resident size of any one process of the command.

With `--near-dedup` it measures in this process what that adds to a build: signing documents, and
the search among the signatures. A document is three hundred characters of the Chinese sample, from
three places; a copy has three others among them. Time is the processor's.
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
import pyarrow as pa  # noqa: E402

from preprocess.clean.near_duplicates import Signatures, find_near_copies  # noqa: E402
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


def near_documents(documents: int, copies: float) -> tuple[list[str], int]:
    """Documents of three places of a novel each; how many of them are earlier ones less 1%."""
    rng = np.random.default_rng(1)
    novel = "".join((ROOT / "samples/zh/sanguo.txt").read_text(encoding="utf-8").split())
    letters = np.array([ord(character) for character in novel], np.uint32)
    fresh: list[np.ndarray] = []
    texts = []
    for _ in range(documents):
        if fresh and rng.random() < copies:
            text = fresh[rng.integers(len(fresh))].copy()
            text[rng.integers(0, len(text), 3)] = rng.integers(0x4E00, 0x9FA0, 3)
        else:
            places = rng.integers(0, len(letters) - 100, 3)
            text = np.concatenate([letters[place : place + 100] for place in places])
            fresh.append(text)
        texts.append("".join(map(chr, text)))
    return texts, documents - len(fresh)


def resident() -> int:
    """Bytes of memory that this process has."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def measure_near(folder: Path, documents: int, copies: float, threshold: float) -> None:
    """Sign documents and search among the signatures, and print what it took."""
    texts, planted = near_documents(documents, copies)
    signatures = Signatures(folder, "near")
    begin = time.process_time()
    for first in range(0, documents, 1000):
        some = pa.array(texts[first : first + 1000], pa.large_string())
        signatures.add(some, np.arange(first, first + len(some)))
    signatures.close()
    signing = time.process_time() - begin
    files = [(signatures.files[0], signatures.files[1])]
    before, begin = resident(), time.process_time()
    search = find_near_copies(files, threshold, lambda _, numbers: np.zeros(len(numbers), np.bool_))
    found = len(next(search))  # the index is still there
    searching = time.process_time() - begin
    memory = (resident() - before) / (documents - found)
    print(f"{documents:,} documents of 300 characters, {planted:,} of them near copies")
    print(f"left out: {found:,} ({found / planted:.2%} of the planted ones)")
    print(f"signing {signing:.1f} s, {signing / documents * 1e3:.2f} ms a document")
    print(f"search {searching:.1f} s, {searching / documents * 1e3:.2f} ms a document, one core")
    print(f"index: {memory / 1024:.1f} KiB of memory for each document that stays")


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
    parser.add_argument("--near-dedup", type=float, help="measure near copies, such as 0.8")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.near_dedup is not None:
            measure_near(folder, arguments.documents, arguments.copies, arguments.near_dedup)
            return
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
