"""From shards on disk to finished micro-batches, in tokens a second.

    python scripts/benchmark_loader.py [--data shards] [--json FILE]
    python scripts/benchmark_loader.py --storage     # from an address, with a warm cache, by turns

One thread does everything: order, plan, hash check, gather, mask, collate. Besides the warm rate,
the first epoch is timed with the shards dropped from the page cache (asked for by
`posix_fadvise`, which needs no rights; it is noted where the system kept them).
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from preprocess.errors import WholewordError  # noqa: E402
from preprocess.places import place  # noqa: E402
from scripts.benchmark_report import Result, shards_folder, show, write_json  # noqa: E402
from train.data.batch_cache import CacheOptions  # noqa: E402
from train.data.loader import Cursor, Loader, LoaderOptions, count_steps  # noqa: E402
from train.data.shard_dataset import ShardDataset  # noqa: E402

SECONDS = 2.0


def drop_from_page_cache(folder: Path) -> None:
    """Ask the system to forget the shards' pages."""
    for shard in folder.glob("*/data-*.arrow"):
        descriptor = os.open(shard, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def one_epoch(dataset: ShardDataset, options: LoaderOptions, epoch: int) -> tuple[int, float]:
    """Tokens and seconds of an epoch."""
    steps = count_steps(dataset, options, 1)
    begin = time.perf_counter()
    # total_steps is never reached, so no step is filled up
    iterator = Loader(dataset, options).steps(Cursor(epoch), 0, steps + 2)
    tokens = 0
    for step in iterator:
        if step.epoch != epoch:
            break
        tokens += sum(batch.tokens for batch in step.micro_batches)
    return tokens, time.perf_counter() - begin


def best_epoch(dataset: ShardDataset, options: LoaderOptions) -> float:
    """Tokens a second of the fastest epoch within `SECONDS`, at least three."""
    one_epoch(dataset, options, 0)
    best, epoch, begin = 0.0, 0, time.perf_counter()
    while epoch < 3 or time.perf_counter() - begin < SECONDS:
        tokens, seconds = one_epoch(dataset, options, epoch)
        best = max(best, tokens / seconds)
        epoch += 1
    return best


def measure(folder: Path, micro_batch_size: int) -> dict[str, Result]:
    """All figures."""
    unit = "tokens/s"
    max_length = ShardDataset(folder, "train").manifest.max_length
    options = LoaderOptions(micro_batch_size, max_length, prefetch=0)
    one_epoch(ShardDataset(folder, "train"), options, 0)  # kernels are loaded
    drop_from_page_cache(folder)
    begin = time.perf_counter()
    dataset = ShardDataset(folder, "train")
    opening = time.perf_counter() - begin
    tokens, seconds = one_epoch(dataset, options, 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {
        "loader": Result(best_epoch(dataset, options), unit),
        "loader_cold": Result(tokens / (opening + seconds), unit),
        "loader_small_batches": Result(
            best_epoch(dataset, replace(options, micro_batch_size=8)), unit
        ),
        "loader_prefetch": Result(best_epoch(dataset, replace(options, prefetch=2)), unit, 2),
        "open": Result(opening, "s"),
        "peak_memory": Result(peak, "MiB"),
    }


def measure_storage(folder: Path, micro_batch_size: int, turns: int = 5) -> dict[str, Result]:
    """The loader from an address whose record batches are in the cache, against the folder.

    Epochs by turns, in seconds of this process's processor time, so that what else the machine does
    falls out. The address is one in this process's memory: with a warm cache nothing but the
    manifest is asked for.
    """
    import fsspec

    store = fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file() and ".build" not in path.parts:
            store.pipe_file(f"/benchmark/{path.relative_to(folder)}", path.read_bytes())
    with tempfile.TemporaryDirectory() as cache:
        options = CacheOptions(Path(cache), 1 << 40)
        near = ShardDataset(folder, "train")
        far = ShardDataset(place("memory://benchmark"), "train", cache=options)
        loader = LoaderOptions(micro_batch_size, near.manifest.max_length, prefetch=0)
        best = {"loader": 0.0, "loader_storage": 0.0}
        for turn in range(turns + 1):  # the first fills the cache and loads the kernels
            for name, dataset in (("loader", near), ("loader_storage", far)):
                begin = time.process_time()
                tokens, _ = one_epoch(dataset, loader, turn)
                if turn:
                    best[name] = max(best[name], tokens / (time.process_time() - begin))
    results = {name: Result(rate, "tokens/s") for name, rate in best.items()}
    share = best["loader_storage"] / best["loader"]
    return results | {"storage_share": Result(share, "of the folder's")}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="shards folder; default ./shards")
    parser.add_argument("--micro-batch-size", type=int, default=32)
    parser.add_argument("--storage", action="store_true", help="from an address, against --data")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    try:
        with shards_folder(arguments.data) as folder:
            measured = measure_storage if arguments.storage else measure
            results = measured(folder, arguments.micro_batch_size)
    except WholewordError as error:
        sys.exit(f"error: {error}")
    rows = [
        [
            key,
            f"{result.value / 1e6:,.1f} M" if result.unit == "tokens/s" else f"{result.value:,.3f}",
            result.unit,
            str(result.threads),
        ]
        for key, result in results.items()
    ]
    notes = [
        "loader_cold includes opening; the page cache was asked to drop the shards, not forced.",
        "peak_memory counts the interpreter, the libraries and the mapped pages.",
    ]
    show("Shards to micro-batches", ["what", "value", "unit", "threads"], rows, notes)
    write_json(arguments.json, "loader", results)


if __name__ == "__main__":
    main()
