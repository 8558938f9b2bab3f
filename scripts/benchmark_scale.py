"""Many machines, measured on one: slices, Ray, and the indexes of datasets of up to a terabyte.

    python scripts/benchmark_scale.py                       # all of it; indexes of up to 10^8 rows
    python scripts/benchmark_scale.py index --rows 1e6 1e7 1e8 1e9
    python scripts/benchmark_scale.py slices --megabytes 20
    python scripts/benchmark_scale.py ray                   # needs `pip install 'wholeword[ray]'`

`index` writes the index and the manifest of a dataset whose shards are holes of the right size, 32
record batches each, and opens it in a process of its own: seconds, and what that process holds in
memory of its own and of mapped files, the libraries left out. "whole" is the same without the
manifest's checksums of parts of the index, as older versions wrote it: read and hashed in full.
`slices` and `ray` build the Chinese sample; seconds are of the clock, and of all processors.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import xxhash  # noqa: E402

from preprocess.format import BATCH_ROWS  # noqa: E402
from preprocess.write.manifest import Manifest, PartEntry, ShardEntry, write_manifest  # noqa: E402
from preprocess.write.shards import (  # noqa: E402
    INDEX_SCHEMA,
    batches_checksum,
    lengths_checksum,
    shard_name,
)
from scripts.benchmark_report import Result, show, write_json  # noqa: E402

SHARD_BATCHES = 32
BATCH_BYTES = 1 << 20
LONGEST = 126
OPEN = """
import gc, json, sys, time
from pathlib import Path
import numpy as np
from train.data.order import epoch_windows
from train.data.shard_dataset import ShardDataset
from train.data.windows import Assembler, LoaderOptions
def memory():
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {name: value for name, value in (line.split(":", 1) for line in lines)}
    return [int(found[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")]
epoch_windows(np.full(2, 4096), 0, 0, 32768)  # loads the kernels
gc.collect()
before, began, cpu = memory(), time.perf_counter(), time.process_time()
dataset = ShardDataset(Path(sys.argv[1]), "train")
opened, opened_cpu = time.perf_counter() - began, time.process_time() - cpu
after = memory()
options = LoaderOptions(32, 128)
began, cpu = time.perf_counter(), time.process_time()
windows = epoch_windows(dataset.batch_rows, 0, 0, options.window)
order_cpu = time.process_time() - cpu
assembler = Assembler(dataset, options)
assembler.open(0, 0, windows[0], shuffle=True)
window = time.perf_counter() - began
last, cpu = memory(), time.process_time()
for number in range(1, 9):
    packs = len(assembler.open(0, number, windows[number % len(windows)], shuffle=True).plan)
plan_cpu = (time.process_time() - cpu) / 8
print(json.dumps({
    "seconds": opened, "processor_seconds": opened_cpu, "window_seconds": window,
    "own_mib": last[0] - before[0], "mapped_mib": last[1] - before[1], "windows": len(windows),
    "order_processor_seconds": order_cpu, "plan_processor_seconds": plan_cpu, "packs": packs,
}))
"""


def write_synthetic(folder: Path, rows: int, manifest: Manifest, sealed: bool) -> None:
    """A dataset of so many rows whose shards are holes; its index is as a build writes it."""
    shard_rows = SHARD_BATCHES * BATCH_ROWS
    shards = max(1, rows // shard_rows)
    (folder / "train").mkdir(parents=True)
    lengths = np.random.default_rng(0).integers(1, LONGEST + 1, shard_rows).astype(np.uint16)
    tokens = int(lengths.sum())
    column = pa.LargeListArray.from_arrays(np.arange(0, shard_rows + 1, BATCH_ROWS), lengths)
    offsets = 400 + np.arange(SHARD_BATCHES, dtype=np.int64) * BATCH_BYTES
    size = 408 + SHARD_BATCHES * BATCH_BYTES
    entries, tables = [], []
    path = folder / "train" / "index.arrow"
    with pa.ipc.new_file(str(path), INDEX_SCHEMA) as writer:
        for number in range(shards):
            arrays = [
                np.full(SHARD_BATCHES, number, np.int32),
                offsets,
                np.full(SHARD_BATCHES, BATCH_BYTES, np.int64),
                np.full(SHARD_BATCHES, BATCH_ROWS, np.int32),
                np.arange(SHARD_BATCHES, dtype=np.uint64) + number,
                column,
            ]
            batch = pa.RecordBatch.from_arrays([pa.array(a) for a in arrays], schema=INDEX_SCHEMA)
            writer.write_batch(batch)
            tables.append(batch.drop_columns(["lengths"]))
            entry = ShardEntry(
                file=f"train/{shard_name(number, shards)}",
                rows=shard_rows,
                tokens=tokens,
                words=tokens,
                bytes=size,
                xxh3_128="0" * 32,
            )
            entries.append(entry)
            with (folder / entry.file).open("wb") as shard:
                shard.truncate(size)
    of_lengths = lengths_checksum(pa.table({"lengths": column}))
    if sealed:
        entries = [e.model_copy(update={"lengths_xxh3_64": of_lengths}) for e in entries]
    digest = ""
    if not sealed:
        with pa.memory_map(str(path)) as index:
            digest = xxhash.xxh3_128_hexdigest(index.read_buffer())
    totals = {"rows": shards * shard_rows, "tokens": shards * tokens, "words": shards * tokens}
    part = PartEntry(
        **{**totals, "documents": totals["rows"], "unknown": 0},
        batches=shards * SHARD_BATCHES,
        index_xxh3_128=digest,
        batches_xxh3_128=batches_checksum(tables) if sealed else "",
        length_histogram={},
        shards=tuple(entries),
    )
    write_manifest(folder, manifest.model_copy(update={"parts": {"train": part}}))


def measure_index(rows: int, manifest: Manifest, sealed: bool) -> dict[str, float]:
    """Figures of opening an index in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="wholeword-scale-") as scratch:
        write_synthetic(Path(scratch) / "shards", rows, manifest, sealed)
        size = (Path(scratch) / "shards" / "train" / "index.arrow").stat().st_size
        command = [sys.executable, "-c", OPEN, str(Path(scratch) / "shards")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return json.loads(done.stdout) | {"index_mib": size / 2**20}


def run_index(counts: list[int], results: dict[str, Result]) -> None:
    """Open synthetic indexes."""
    with tempfile.TemporaryDirectory() as scratch:
        manifest = _small_manifest(Path(scratch))
    table = []
    for rows in counts:
        for sealed in (True, False):
            found = measure_index(rows, manifest, sealed)
            name = "by shard" if sealed else "whole"
            for key in found:
                unit = "MiB" if key.endswith("mib") else "s" if key.endswith("seconds") else ""
                results[f"index_{rows:.0e}_{name.replace(' ', '_')}_{key}"] = Result(
                    found[key], unit
                )
            table.append(
                [f"{rows:,}", name, f"{found['index_mib']:,.0f}"]
                + [f"{found[key]:.2f}" for key in ("seconds", "processor_seconds")]
                + [f"{found[key]:,.0f}" for key in ("own_mib", "mapped_mib")]
                + [f"{found['order_processor_seconds']:.2f}"]
                + [f"{1000 * found['plan_processor_seconds']:.1f}"]
            )
            print(table[-1], flush=True)
    columns = ["rows", "checked", "index MiB", "open s", "processor s", "own MiB", "mapped MiB"]
    columns += ["an epoch's order, processor s", "a window's plan, ms"]
    show("opening an index", columns, table, [])


def _small_manifest(scratch: Path) -> Manifest:
    """A manifest of real shards, whose parts are then replaced."""
    from preprocess.options import BuildOptions
    from preprocess.run.build import run_build
    from preprocess.run.plan import plan_build

    (scratch / "in.txt").write_text("天下大势\n分久必合\n", encoding="utf-8")
    tokenizer = str(ROOT / "samples" / "tokenizer")
    options = BuildOptions(
        (str(scratch / "in.txt"),), str(scratch / "out"), tokenizer, max_length=LONGEST + 2, audit=0
    )
    *_, manifest = run_build(plan_build(options))
    assert isinstance(manifest, Manifest)
    return manifest


@contextlib.contextmanager
def text_folder(megabytes: int) -> Iterator[Path]:
    """A folder with the Chinese sample, repeated to a size, and room for what is built."""
    sample = b"".join(path.read_bytes() for path in sorted((ROOT / "samples" / "zh").glob("*.txt")))
    with tempfile.TemporaryDirectory(prefix="wholeword-scale-") as scratch:
        repeats = -(-(megabytes << 20) // len(sample))
        (Path(scratch) / "in.txt").write_bytes(sample * repeats)
        yield Path(scratch)


def build_command(folder: Path, output: str, *more: str) -> list[str]:
    """A build of the folder's text in sixteen tasks or so."""
    split = (folder / "in.txt").stat().st_size // 16 + 1
    return [
        *(sys.executable, "-m", "preprocess", "build-shards", "--json", "--audit", "0"),
        *("--input", str(folder / "in.txt"), "--output", str(folder / output)),
        *("--split-size", str(split), *more),
    ]


def timed(commands: list[list[str]]) -> tuple[float, float]:
    """Seconds of commands that run at once, and of all processors in them."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    running = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) for command in commands
    ]
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit("a build failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, spent


def report_builds(title: str, found: dict[str, tuple[float, float]], size: int) -> None:
    """Print builds beside each other."""
    rows = [
        [name, f"{wall:.1f}", f"{spent:.1f}", f"{size / 1e6 / wall:.2f}"]
        for name, (wall, spent) in found.items()
    ]
    show(title, ["build", "seconds", "processor seconds", "MB/s"], rows, [])


def run_slices(megabytes: int, results: dict[str, Result]) -> None:
    """Two slices of one process at once, against one command of one process."""
    with text_folder(megabytes) as folder:
        one = ("--workers", "1")
        timed([build_command(folder, "warm", *one)])  # compiles
        found = {"one command": timed([build_command(folder, "one", *one)])}
        both = [build_command(folder, "two", *one, "--slice", f"{index}/2") for index in range(2)]
        found["two slices at once"] = timed(both)
        if not (folder / "two" / "manifest.json").exists():
            raise SystemExit("the slices left the dataset unfinished")
        size = (folder / "in.txt").stat().st_size
        report_builds(f"slices, {size / 1e6:.0f} MB", found, size)
    for name, (wall, spent) in found.items():
        results[f"{name.replace(' ', '_')}_seconds"] = Result(wall, "s")
        results[f"{name.replace(' ', '_')}_processor_seconds"] = Result(spent, "s")


def run_ray(megabytes: int, results: dict[str, Result]) -> None:
    """Actors on a cluster of two nodes of one processor, against two processes."""
    try:
        from ray.cluster_utils import Cluster
    except ImportError:
        print("ray: not measured, it is not installed (pip install 'wholeword[ray]')")
        return
    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    try:
        with text_folder(megabytes) as folder:
            timed([build_command(folder, "warm", "--workers", "2")])  # compiles
            found = {"two processes": timed([build_command(folder, "one", "--workers", "2")])}
            ray = ("--engine", "ray", "--ray-address", cluster.address)
            wall, _ = timed([build_command(folder, "two", *ray)])
            found["Ray, two nodes"] = wall, float("nan")
            size = (folder / "in.txt").stat().st_size
            report_builds(f"Ray, {size / 1e6:.0f} MB", found, size)
    finally:
        cluster.shutdown()
    results["two_processes_seconds"] = Result(found["two processes"][0], "s", 2)
    results["ray_seconds"] = Result(wall, "s", 2)


def main() -> None:
    """Run what is asked for, print and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["all", "index", "slices", "ray"], default="all")
    parser.add_argument("--rows", type=float, nargs="+", default=[1e6, 1e7, 1e8])
    parser.add_argument("--megabytes", type=int, default=20, help="of text")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    results: dict[str, Result] = {}
    if arguments.what in ("all", "index"):
        run_index([int(rows) for rows in arguments.rows], results)
    if arguments.what in ("all", "slices"):
        run_slices(arguments.megabytes, results)
    if arguments.what in ("all", "ray"):
        run_ray(arguments.megabytes, results)
    write_json(arguments.json, "scale", results)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
