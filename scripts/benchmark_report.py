"""What every benchmark reports: its machine, its figures, as a table for people and as JSON.

The JSON is `{"benchmark": NAME, "machine": {...}, "results": {KEY: {"value", "unit", "threads"}}}`.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("numpy", "numba", "pyarrow", "torch", "transformers", "tokenizers", "deepspeed")


@dataclass(frozen=True)
class Result:
    """One figure."""

    value: float
    unit: str
    threads: int = 1


def machine() -> dict[str, Any]:
    """Processor, GPU if torch has found one, threads, memory, interpreter and libraries."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None
    return {
        "processor": model,
        "gpu": gpu,
        "threads": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def best_rate(
    run: Callable[[], int],
    seconds: float,
    repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Units a second of the fastest of `repeats` timings.

    The fastest, because what else the machine does only ever slows a run down.

    Args:
        run: does the work once and returns how many units it did.
        seconds: shortest time of one timing; `run` is called until it is over.
        repeats: how many timings.
        clock: `time.thread_time` leaves out the time that other programs took from this thread.
    """
    run()
    best = 0.0
    for _ in range(repeats):
        units = 0
        begin = clock()
        while (elapsed := clock() - begin) < seconds:
            units += run()
        best = max(best, units / elapsed)
    return best


@contextmanager
def shards_folder(data: Path | None) -> Iterator[Path]:
    """The folder asked for, else ./shards, else one built from the sample for this run."""
    if data is not None or (Path("shards") / "manifest.json").exists():
        yield data or Path("shards")
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "preprocess",
            "build-shards",
            "--output",
            f"{folder}/shards",
        ]
        print("no ./shards: building the sample into a temporary folder", flush=True)
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        yield Path(folder) / "shards"


def show(title: str, columns: list[str], rows: list[list[str]], notes: list[str]) -> None:
    """Print a table, its first column to the left, and notes under it."""
    console = Console()
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for note in notes:
        console.print(f"- {note}", markup=False, highlight=False)


def write_json(path: Path | None, benchmark: str, results: dict[str, Result]) -> None:
    """Write the figures to `path`, if there is one."""
    if path is None:
        return
    figures = {key: asdict(result) for key, result in results.items()}
    value = {"benchmark": benchmark, "machine": machine(), "results": figures}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
