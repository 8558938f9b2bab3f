"""The commands of `python -m preprocess`."""

import json
import os
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from preprocess import kernels
from preprocess.console import console, warn
from preprocess.describe import summary, summary_table
from preprocess.errors import WholewordError
from preprocess.options import BuildOptions
from preprocess.read.input_report import encoding_warning, input_lines, uncuttable
from preprocess.read.sources import ReadOptions
from preprocess.run import state
from preprocess.run.build import run_build
from preprocess.run.plan import BuildPlan, identity, plan_build
from preprocess.verify import reindex, verify_dataset
from preprocess.vocabulary import train_vocabulary
from preprocess.write.manifest import Manifest, read_manifest

SAMPLE = "samples/zh"
LARGE = 8 << 20
"""Bytes of an input file that several workers would share, if it could be cut."""
CONTRADICTS = 0.01
"""Share of damaged documents above which a file may have another encoding than it was read in."""
_MAX_DIGITS = 18
SAMPLE_TOKENIZER = "samples/tokenizer"
PROCESSORS = (
    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
)

app = typer.Typer(
    help="Turn raw text into shards for masked language modelling.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Inputs = Annotated[
    list[str],
    typer.Option(
        "--input",
        "-i",
        help="File, glob or folder of .txt, .jsonl, .json, .csv, .tsv (also .gz, .zst, .bz2, .xz), "
        ".parquet or .arrow; repeatable.",
    ),
]
TextFields = Annotated[
    list[str],
    typer.Option(
        "--text-field",
        help="Field or column with the text, a.b for b inside a; repeated, they are joined.",
    ),
]
FieldSeparator = Annotated[
    str, typer.Option(help=r"What joins the texts of two fields; \n and \t are understood.")
]
Encoding = Annotated[
    str,
    typer.Option(
        help="Of text files: auto looks at the first megabyte of each; or a name, such as gb18030."
    ),
]
Data = Annotated[Path, typer.Option("--data", help="Folder that build-shards wrote.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command("build-shards")
def build_shards(
    inputs: Inputs = [SAMPLE],  # noqa: B006 (typer copies it)
    output: Annotated[
        str, typer.Option("--output", "-o", help="Folder of the dataset.")
    ] = "shards",
    tokenizer: Annotated[
        str, typer.Option(help="Hub id or folder, as for AutoTokenizer.")
    ] = SAMPLE_TOKENIZER,
    segmenter: Annotated[
        str,
        typer.Option(
            help="Who decides where words begin: auto, jieba, whitespace, none, or "
            "package.module:function. auto is jieba where the vocabulary holds Han characters."
        ),
    ] = "auto",
    user_dict: Annotated[
        list[str], typer.Option(help="User dictionary of jieba; repeatable.")
    ] = [],  # noqa: B006
    hmm: Annotated[bool, typer.Option(help="Let jieba guess words it does not know.")] = True,
    max_length: Annotated[int, typer.Option(help="Tokens a row, special tokens included.")] = 512,
    pairs: Annotated[bool, typer.Option(help="Leave room for a pair's special tokens.")] = False,
    document_separator: Annotated[
        str, typer.Option(help="What ends a document of plain text: line, blank-line or file.")
    ] = "line",
    text_field: TextFields = ["text"],  # noqa: B006
    field_separator: FieldSeparator = r"\n",
    encoding: Encoding = "auto",
    strict: Annotated[
        bool, typer.Option("--strict", help="A record without text ends the build.")
    ] = False,
    validation_fraction: Annotated[
        float, typer.Option(help="Share of documents put aside, by a hash of their text.")
    ] = 0.01,
    validation_input: Annotated[
        list[str], typer.Option(help="Validation text, instead of a share; repeatable.")
    ] = [],  # noqa: B006
    test_input: Annotated[list[str], typer.Option(help="Test text; repeatable.")] = [],  # noqa: B006
    workers: Annotated[
        int, typer.Option(help="Processes.", show_default="one a processor")
    ] = PROCESSORS,
    split_size: Annotated[
        str, typer.Option(help="Input to a task, such as 64MiB; auto follows the input's size.")
    ] = "auto",
    encoder: Annotated[
        str,
        typer.Option(
            help="auto, compiled, library (any fast tokenizer) or reference (the slow oracle)."
        ),
    ] = "auto",
    audit: Annotated[
        int, typer.Option(help="Compare every Nth document with the reference; 0: never.")
    ] = 1000,
    overwrite: Annotated[bool, typer.Option(help="Replace shards that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Segment, tokenize, and write sharded Arrow files with word boundaries."""
    options = BuildOptions(
        inputs=tuple(inputs),
        output=output,
        tokenizer=tokenizer,
        segmenter=segmenter,
        user_dicts=tuple(user_dict),
        hmm=hmm,
        max_length=max_length,
        pairs=pairs,
        document_separator=document_separator,
        text_fields=tuple(text_field),
        field_separator=_unescape(field_separator),
        encoding=encoding,
        strict=strict,
        validation_fraction=validation_fraction,
        validation_inputs=tuple(validation_input),
        test_inputs=tuple(test_input),
        split_size=_parse_size(split_size),
        workers=workers,
        encoder=encoder,
        audit=audit,
    )
    _build(options, overwrite, as_json)


@app.command()
def verify(
    data: Data = Path("shards"),
    reindex_first: Annotated[
        bool, typer.Option("--reindex", help="Make every index.arrow again from the shards.")
    ] = False,
) -> None:
    """Check the shards against the manifest; exit 1 at the first that is wrong."""
    if reindex_first:
        reindex(data)
        console.print("index written")
    files = 0
    with console.status("verifying") as status:
        for name in verify_dataset(data):
            files += 1
            status.update(f"verifying {name}")
    console.print(f"[green]{data}: all {files} files match the manifest[/]")


@app.command()
def describe(data: Data = Path("shards"), as_json: Json = False) -> None:
    """Show what a dataset holds."""
    _report(read_manifest(data), data, "", as_json)


@app.command("train-vocab")
def train_vocab(
    inputs: Inputs = ["samples/zh", "samples/en"],  # noqa: B006
    output: Annotated[Path, typer.Option("--output", "-o", help="The new folder.")] = Path(
        "tokenizer"
    ),
    vocab_size: Annotated[int, typer.Option(help="Entries, special tokens included.")] = 30_000,
    min_frequency: Annotated[int, typer.Option(help="Of a piece that joins two others.")] = 2,
    text_field: TextFields = ["text"],  # noqa: B006
    field_separator: FieldSeparator = r"\n",
    encoding: Encoding = "auto",
    lowercase: Annotated[bool, typer.Option(help="Lower-case all text (uncased).")] = True,
) -> None:
    """Train a BERT WordPiece tokenizer; every Chinese character of the text gets an entry."""
    reading = ReadOptions(text_fields=tuple(text_field), field_separator=_unescape(field_separator))
    with console.status("training the vocabulary"):
        entries = train_vocabulary(
            tuple(inputs),
            output,
            vocab_size,
            reading=reading,
            encoding=encoding,
            min_frequency=min_frequency,
            lowercase=lowercase,
        )
    console.print(f"{output}: {entries:,} entries")
    console.print(f"next: [bold]python -m preprocess build-shards --tokenizer {output}[/]")


def _build(options: BuildOptions, overwrite: bool, as_json: bool) -> None:
    """Plan and run a build, and say what it made."""
    with console.status("looking at the input") if not as_json else nullcontext():
        plan = plan_build(options)
    if overwrite:
        state.remove_build(plan.output)
    if state.is_finished(plan.output, identity(plan)):
        manifest = read_manifest(plan.output)
        _report(manifest, plan.output, "already built with the same options", as_json)
        return
    if not as_json:
        _announce(plan)
    begin = time.perf_counter()
    manifest, audit_counts, encodings = _run(plan, quiet=as_json)
    seconds = time.perf_counter() - begin
    rate = plan.bytes / 1e6 / seconds
    _report(manifest, plan.output, f"built in {seconds:.1f} s, {rate:.1f} MB/s", as_json)
    _warn_of_encodings(plan, encodings)
    if not as_json:
        for what, count in audit_counts.items():
            console.print(f"{what.replace('_', ' ')}: {count:,}")
        console.print(
            f"next: [bold]deepspeed train/pretrain.py --data {plan.output} "
            "--deepspeed ds_configs/zero2.json[/]"
        )


def _unescape(separator: str) -> str:
    return separator.replace(r"\n", "\n").replace(r"\t", "\t")


def _parse_size(text: str) -> int | None:
    """Bytes; None for `auto`."""
    if text == "auto":
        return None
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
    units |= {
        "KIB": 1 << 10,
        "MIB": 1 << 20,
        "GIB": 1 << 30,
        "K": 1 << 10,
        "M": 1 << 20,
        "G": 1 << 30,
    }
    number = text.rstrip("BbiIkKmMgG")
    factor = units.get(text[len(number) :].upper())
    if factor is None or not number.isdecimal() or len(number) > _MAX_DIGITS:
        raise WholewordError(f"--split-size {text}: not a size; use auto, or a size such as 64MiB")
    return int(number) * factor


def _announce(plan: BuildPlan) -> None:
    segmenter = plan.segmenter.function or plan.segmenter.kind
    chosen = " (chosen from the vocabulary)" if plan.options.segmenter == "auto" else ""
    workers = min(plan.options.workers, len(plan.tasks))
    for line in input_lines(plan.files, plan.left_out):
        console.print(line, markup=False)
    console.print(
        f"tasks: {len(plan.tasks)}; "
        f"workers: {workers}; words: [bold]{segmenter}[/]{chosen}; encoder: [bold]{plan.encoder}[/]"
    )
    if not kernels.are_compiled():
        console.print("the first build compiles its kernels, which takes half a minute, once")
    if plan.encoder_reason:
        console.print(
            f"[yellow]the library encodes, not the compiled encoder: {plan.encoder_reason}[/]"
        )


def _run(plan: BuildPlan, quiet: bool) -> tuple[Manifest, Counter[str], dict[str, list[int]]]:
    """Build; the manifest, the audit's counts, and by file its documents, all and not UTF-8."""
    audit: Counter[str] = Counter()
    encodings: dict[str, list[int]] = {}
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        disable=quiet,
    )
    with bar:
        shown = bar.add_task("building", total=plan.bytes, rate="")
        begin = time.perf_counter()
        done = tokens = 0
        for event in run_build(plan):
            if isinstance(event, Manifest):
                return event, audit, encodings
            done += event.bytes
            tokens += event.tokens
            audit.update(event.audit)
            for source in event.sources:
                seen = encodings.setdefault(source.path, [0, 0])
                seen[0] += source.documents
                seen[1] += source.invalid
            seconds = time.perf_counter() - begin
            rate = f"{done / 1e6 / seconds:.1f} MB/s  {tokens / 1e6 / seconds:.2f} Mtokens/s"
            bar.update(shown, completed=done, rate=rate)
    raise AssertionError("a build ends with a manifest")


def _warn_of_encodings(plan: BuildPlan, encodings: dict[str, list[int]]) -> None:
    """Name the files that contradict their encoding: otherwise it shows only as odd counts."""
    by_path = {file.path: file for file in plan.files}
    for path, (documents, invalid) in sorted(encodings.items()):
        if invalid > CONTRADICTS * documents:
            warn(encoding_warning(by_path[path], invalid / documents))


def _report(manifest: Manifest, folder: Path, title: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary(manifest, folder), ensure_ascii=False))
        return
    console.print(summary_table(manifest, f"{folder}  {title}"))
    tasks = max(len(part.shards) for part in manifest.parts.values())
    only = manifest.inputs[0]
    if len(manifest.inputs) == tasks == 1 and only.bytes > LARGE and (why := uncuttable(only.path)):
        console.print(
            f"{only.path} is {why}, which only one worker can read; "
            "cut it into several to use them all"
        )
