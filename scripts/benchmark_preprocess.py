"""From text to shards, in bytes a second, beside jieba, tokenizers and the reference encoder.

    python scripts/benchmark_preprocess.py [--input samples/zh] [--tokenizer samples/tokenizer]
        [--segmenter auto] [--megabytes 300] [--json FILE]

The input is repeated up to `--megabytes`. Stages run alone, on one thread, over documents that are
in memory already, and are timed in the thread's own time. `build_shards` is the whole command in a
process of its own, start-up, reading and audit included, in wall time; `start_up` is the same for
one line of text; `build_memory` is the largest resident size of any of the command's processes. The
peers take documents spread over the input for five seconds each; they get lists of str that were
made outside the clock. `peers` is jieba and tokenizers one after the other,
which is what a build without Wholeword does; without jieba's words it is tokenizers alone.

Any tokenizer is measured by the encoder that a build takes for it: `wordpiece` is a compiled BERT
tokenizer without a segmenter, `tokenize` any other. `library` is the encoder of tokenizers that
nothing compiles, `encode_batch` the library with the offsets that it needs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread, like everything else here

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402

from preprocess.encode.auto_segmenter import choose_segmenter  # noqa: E402
from preprocess.encode.compiled.encoder import CompiledEncoder  # noqa: E402
from preprocess.encode.compiled.segmentation import make_document_segmenter  # noqa: E402
from preprocess.encode.compiled.utf8 import decode  # noqa: E402
from preprocess.encode.encoders import choose_encoder, make_encoder  # noqa: E402
from preprocess.encode.protocol import EncodedDocuments, Encoder, EncoderSpec  # noqa: E402
from preprocess.encode.segmenters import SegmenterSpec, jieba_tokenizer, parse_segmenter  # noqa: E402
from preprocess.encode.tokenizer import load_backend, load_tokenizer  # noqa: E402
from preprocess.errors import WholewordError  # noqa: E402
from preprocess.kernels import kernel  # noqa: E402
from preprocess.read.input_files import find_inputs  # noqa: E402
from preprocess.write.rows import cut_rows  # noqa: E402
from preprocess.write.shards import Rows, ShardWriter, shard_schema  # noqa: E402
from scripts.benchmark_report import Result, best_rate, show, write_json  # noqa: E402

STAGE_BYTES = 8 << 20
PEER_SECONDS = 5.0
BATCH_SIZES = (16, 128, 1024)
MAX_TOKENS = 510
# By a small process: what is started begins with the resident size of what starts it.
MEASURE = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


@dataclass(frozen=True)
class Text:
    """The input as every contestant wants it."""

    file: Path
    """The whole of it, repeated."""
    lines: list[str]
    """Documents of about `STAGE_BYTES`, spread over the input."""
    documents: pa.LargeStringArray
    """The same."""
    bytes: int
    """Of `lines`."""


def prepare(patterns: list[str], megabytes: int, folder: Path) -> Text:
    """Repeat the input into one file, and take documents from all over it.

    Raises:
        WholewordError: the input is missing or holds no text.
    """
    files = [file.path for file in find_inputs(tuple(patterns), "train")]
    content = b"".join(Path(path).read_bytes().rstrip(b"\n") + b"\n" for path in files)
    path = folder / "input.txt"
    with path.open("wb") as output:
        for _ in range(max(1, -(-megabytes * 1_000_000 // len(content)))):
            output.write(content)
    lines = [line for line in content.decode("utf-8", "replace").split("\n") if line.strip()]
    if not lines:
        raise WholewordError(f"{', '.join(patterns)}: holds no text; give other --input")
    size = sum(len(line.encode()) for line in lines)
    if size > STAGE_BYTES:
        lines = lines[:: -(-size // STAGE_BYTES)]
    size = sum(len(line.encode()) for line in lines)
    return Text(path, lines, pa.array(lines, pa.large_string()), size)


@kernel
def decode_all(data: np.ndarray) -> int:
    """Decode; the sum keeps the compiler from leaving it out."""
    position = 0
    total = 0
    while position < len(data):
        code_point, position = decode(data, position)
        total += code_point
    return total


def encoder_of(tokenizer_json: str, spec: SegmenterSpec, kind: str = "auto") -> Encoder:
    """The encoder that a build would take, or one of a kind."""
    kind, _ = choose_encoder(kind, tokenizer_json, spec)
    return make_encoder(EncoderSpec(tokenizer_json, spec, kind))


def stages(text: Text, tokenizer_json: str, spec: SegmenterSpec) -> Iterator[tuple[str, float]]:
    """Bytes a second of each stage alone."""

    def rate(run: Callable[[], object]) -> float:
        def measured() -> int:
            run()
            return text.bytes

        return best_rate(measured, 0.3, 4, time.thread_time)

    _, _, data_buffer = text.documents.buffers()
    data = np.frombuffer(data_buffer, np.uint8)
    yield "decode", rate(lambda: decode_all(data))
    segment = make_document_segmenter(spec if spec.kind == "jieba" else SegmenterSpec("jieba"))
    yield "segment", rate(lambda: segment(text.documents))
    pieces = encoder_of(tokenizer_json, SegmenterSpec("none"))
    name = "wordpiece" if isinstance(pieces, CompiledEncoder) else "tokenize"
    yield name, rate(lambda: pieces.encode(text.documents))
    encoder = encoder_of(tokenizer_json, spec)
    yield "encode", rate(lambda: encoder.encode(text.documents))
    encoded = encoder.encode(text.documents)
    yield "rows", rate(lambda: rows_of(encoded))
    rows = rows_of(encoded)
    with tempfile.TemporaryDirectory() as folder:
        yield "write", rate(lambda: write(rows, Path(folder) / "shard.arrow"))


def rows_of(encoded: EncodedDocuments) -> Rows:
    """Cut rows as a build does."""
    row_offsets, documents, _ = cut_rows(
        encoded.word_starts, encoded.sentence_starts, encoded.offsets, MAX_TOKENS
    )
    return Rows(encoded.ids, encoded.word_starts, encoded.sentence_starts, row_offsets, documents)


def write(rows: Rows, path: Path) -> None:
    """Write a shard as a build does."""
    with ShardWriter(path, 0, shard_schema(rows.ids.dtype)) as writer:
        writer.write(rows)


def peer_rate(lines: list[str], size: int, run: Callable[[list[str]], object]) -> float:
    """Bytes a second of a slow peer, fed `size` documents at a time for about five seconds.

    The documents of a turn are spread over the text, so that a short run sees all of it.
    """
    turns = max(1, len(lines) // size)
    done = 0
    elapsed = 0.0
    turn = 0
    run(lines[:1])
    while elapsed < PEER_SECONDS:
        batch = lines[turn % turns :: turns]
        begin = time.thread_time()
        run(batch)
        elapsed += time.thread_time() - begin
        done += sum(len(line.encode()) for line in batch)
        turn += 1
    return done / elapsed


def peers(text: Text, tokenizer_json: str, spec: SegmenterSpec) -> Iterator[tuple[str, float]]:
    """Bytes a second of jieba, of tokenizers at its best batch size, and of the reference."""
    segment = jieba_tokenizer(spec.user_dicts)
    yield "jieba", peer_rate(text.lines, 50, lambda batch: [segment.lcut(x) for x in batch])
    backend = load_backend(tokenizer_json)

    def tokenize(batch: list[str]) -> object:
        return backend.encode_batch_fast(batch, add_special_tokens=False)

    tried = {}
    for size in BATCH_SIZES:
        begin = time.thread_time()
        batch = text.lines[:size]
        tokenize(batch)
        seconds = time.thread_time() - begin
        tried[size] = sum(len(line.encode()) for line in batch) / seconds
    best = max(tried, key=lambda size: tried[size])
    yield "tokenizers", peer_rate(text.lines, best, tokenize)
    yield (
        "encode_batch",
        peer_rate(
            text.lines, best, lambda batch: backend.encode_batch(batch, add_special_tokens=False)
        ),
    )
    for kind, size in (("library", max(BATCH_SIZES)), ("reference", 50)):
        encoder = encoder_of(tokenizer_json, spec, kind)
        yield kind, peer_rate(text.lines, size, partial(encode, encoder))


def encode(encoder: Encoder, batch: list[str]) -> None:
    """Encode, as a build does but for the array, which takes no time worth speaking of."""
    encoder.encode(pa.array(batch, pa.large_string()))


def builds(text: Text, arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Result]]:
    """The whole command: on one line (what it takes to start), and with 1 and 2 workers."""
    line = folder / "line.txt"
    line.write_text(text.lines[0], encoding="utf-8")
    build(line, arguments, 1, folder / "warm")  # compiles and caches what is not there yet
    yield "start_up", Result(build(line, arguments, 1, folder / "line")[0], "s")
    size = text.file.stat().st_size
    seconds, memory = build(text.file, arguments, 1, folder / "one")
    yield "build_shards", Result(size / seconds, "bytes/s")
    yield "build_memory", Result(memory, "MiB")
    seconds, memory = build(text.file, arguments, 2, folder / "two")
    yield "build_shards_2_workers", Result(size / seconds, "bytes/s", threads=2)
    yield "build_memory_2_workers", Result(memory, "MiB", threads=2)


def build(
    path: Path, arguments: argparse.Namespace, workers: int, output: Path
) -> tuple[float, float]:
    """Seconds of one run of the command, and MiB that its largest process held at most.

    Raises:
        WholewordError: it failed.
    """
    command = [sys.executable, "-m", "preprocess", "build-shards", "--json"]
    command += ["--input", str(path), "--output", str(output), "--workers", str(workers)]
    command += ["--tokenizer", arguments.tokenizer, "--segmenter", arguments.segmenter]
    begin = time.perf_counter()
    finished = subprocess.run(
        [sys.executable, "-I", "-c", MEASURE, *command],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    if finished.returncode:
        raise WholewordError(f"build-shards failed: {finished.stderr.strip()}")
    return time.perf_counter() - begin, int(finished.stdout) / 1024


def report(results: dict[str, Result], spec: SegmenterSpec, text: Text, path: Path | None) -> None:
    """Print and write the figures."""
    ours, tokenizers = results["build_shards"].value, results["tokenizers"].value
    jieba = results["jieba"].value
    combined = 1 / (1 / jieba + 1 / tokenizers) if spec.kind == "jieba" else tokenizers
    results["peers"] = Result(combined, "bytes/s")
    rows = [
        [key, f"{result.value / 1e6:,.2f}", str(result.threads), f"{result.value / combined:,.1f}x"]
        for key, result in results.items()
        if result.unit == "bytes/s"
    ]
    megabytes = text.file.stat().st_size / 1e6
    show(
        f"Preprocessing, {megabytes:.0f} MB, segmenter {spec.kind}",
        ["", "MB/s", "threads", "against the peers"],
        rows,
        [
            f"build_shards is {ours / combined:.1f} times the peers "
            f"({'jieba + tokenizers' if spec.kind == 'jieba' else 'tokenizers'}), "
            f"and 2 workers are {results['build_shards_2_workers'].value / ours:.2f} times 1",
            f"the largest process of a build held {results['build_memory'].value:.0f} MiB with one "
            f"worker, {results['build_memory_2_workers'].value:.0f} MiB with two",
            f"build_shards holds {results['start_up'].value:.1f} s of start-up, most of it imports",
            "segment and jieba are jieba's words, wordpiece or tokenize all else of encode, "
            "whatever the segmenter",
        ],
    )
    write_json(path, "preprocess", results)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", action="append", help="file, glob or folder of .txt; repeatable")
    parser.add_argument("--tokenizer", default=str(ROOT / "samples" / "tokenizer"))
    parser.add_argument("--segmenter", default="auto")
    parser.add_argument("--megabytes", type=int, default=300, help="size to repeat the input to")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    try:
        run(arguments)
    except WholewordError as error:
        sys.exit(str(error))


def run(arguments: argparse.Namespace) -> None:
    """What `main` does once the command line is read."""
    tokenizer = load_tokenizer(arguments.tokenizer)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = prepare(arguments.input or [str(ROOT / "samples/zh")], arguments.megabytes, folder)
        if arguments.segmenter == "auto":
            arguments.segmenter, _ = choose_segmenter(
                text.lines[::50], tokenizer.json, tokenizer.special.unk_id
            )
        spec = parse_segmenter(arguments.segmenter, (), True)
        kind, reason = choose_encoder("auto", tokenizer.json, spec)
        print(f"encoder: {kind}{f', because {reason}' if reason else ''}")
        results = {
            key: Result(value, "bytes/s")
            for measure in (stages, peers)
            for key, value in measure(text, tokenizer.json, spec)
        }
        results |= dict(builds(text, arguments, folder))
        report(results, spec, text, arguments.json)


if __name__ == "__main__":
    main()
