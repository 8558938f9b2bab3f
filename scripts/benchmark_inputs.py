"""The same documents in several forms, and in many small files: what reading costs a build.

    python scripts/benchmark_inputs.py [--input samples/zh] [--megabytes 150] [--files 20000]
        [--document-bytes 1000] [--json FILE]

Each build is the whole command with one worker in a process of its own, start-up included, in wall
time; bytes are those of the documents as UTF-8, whatever the form. Every form is built twice, by
turns, and the better time counts. The small files hold about `--document-bytes` each; `one_file`
is the same text in one file.
"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import orjson  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from preprocess.errors import WholewordError  # noqa: E402
from scripts.benchmark_preprocess import build, prepare  # noqa: E402
from scripts.benchmark_report import Result, show, write_json  # noqa: E402

FOLDER_FILES = 1000


def write_text(path: Path, lines: list[str]) -> None:
    """A document a line, in UTF-8."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_gb18030(path: Path, lines: list[str]) -> None:
    """The same in GB18030."""
    path.write_text("\n".join(lines) + "\n", encoding="gb18030")


def write_json_lines(path: Path, lines: list[str]) -> None:
    """Objects of three fields."""
    with path.open("wb") as stream:
        for number, line in enumerate(lines):
            stream.write(orjson.dumps({"id": number, "text": line, "source": "novel"}) + b"\n")


def write_csv(path: Path, lines: list[str]) -> None:
    """Rows of two columns."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("id", "text"), *enumerate(lines)])


def write_parquet(path: Path, lines: list[str]) -> None:
    """Row groups of 10,000 rows, as pyarrow writes them by default (snappy)."""
    columns = {"id": range(len(lines)), "text": lines, "source": ["novel"] * len(lines)}
    pq.write_table(pa.table(columns), path, row_group_size=10_000)


FORMS: dict[str, Callable[[Path, list[str]], None]] = {
    "input.txt": write_text,
    "input.jsonl": write_json_lines,
    "input.parquet": write_parquet,
    "input.csv": write_csv,
    "gb18030.txt": write_gb18030,
}
KEYS = dict(zip(FORMS, ("text", "json_lines", "parquet", "csv", "gb18030"), strict=True))


def write_small_files(folder: Path, lines: list[str], count: int, size: int) -> Path:
    """`count` files of about `size` bytes in folders; returns the path of all their text in one."""
    whole = folder.with_suffix(".txt")
    number = 0
    with whole.open("wb") as one:
        for file in range(count):
            texts, held = [], 0
            while held < size:
                texts.append(lines[number % len(lines)].encode() + b"\n")
                held += len(texts[-1])
                number += 1
            path = folder / f"{file // FOLDER_FILES:04d}" / f"{file:07d}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(texts))
            one.write(b"".join(texts))
    return whole


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Result]:
    """All builds."""
    text = prepare(arguments.input or [str(ROOT / "samples/zh")], arguments.megabytes, folder)
    lines = [line for line in text.file.read_text(encoding="utf-8").split("\n") if line.strip()]
    size = sum(len(line.encode()) for line in lines)
    for name, write in FORMS.items():
        write(folder / name, lines)
    best = dict.fromkeys(FORMS, float("inf"))
    build(folder / "input.txt", arguments, 1, folder / "warm")
    for turn in range(2):
        for name in FORMS:
            seconds, _ = build(folder / name, arguments, 1, folder / f"{name}-{turn}")
            best[name] = min(best[name], seconds)
    results = {KEYS[name]: Result(size / best[name], "bytes/s") for name in FORMS}
    if arguments.files:
        small = folder / "small"
        whole = write_small_files(small, lines, arguments.files, arguments.document_bytes)
        results["one_file"] = Result(build(whole, arguments, 1, folder / "one")[0], "s")
        seconds, memory = build(small, arguments, 1, folder / "many")
        results["small_files"] = Result(seconds, "s")
        results["small_files_memory"] = Result(memory, "MiB")
    return results


def report(results: dict[str, Result], arguments: argparse.Namespace) -> None:
    """Print and write the figures."""
    text = results["text"].value
    rows = [
        [key, f"{results[key].value / 1e6:.1f}", f"{results[key].value / text:.2f}"]
        for key in KEYS.values()
    ]
    notes = []
    if arguments.files:
        many, one = results["small_files"].value, results["one_file"].value
        notes.append(
            f"{arguments.files:,} files took {many:.1f} s ({many / one:.2f} times the {one:.1f} s "
            f"of one file) and {results['small_files_memory'].value:.0f} MiB"
        )
    show("One worker, the whole command", ["", "MB/s of text", "of plain text"], rows, notes)
    write_json(arguments.json, "inputs", results)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", action="append", help="file, glob or folder of .txt; repeatable")
    parser.add_argument("--tokenizer", default=str(ROOT / "samples" / "tokenizer"))
    parser.add_argument("--segmenter", default="auto")
    parser.add_argument("--megabytes", type=int, default=150, help="size to repeat the input to")
    parser.add_argument("--files", type=int, default=20_000, help="small files; 0 leaves them out")
    parser.add_argument("--document-bytes", type=int, default=1000, help="size of a small file")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            report(measure(arguments, Path(folder)), arguments)
    except WholewordError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
