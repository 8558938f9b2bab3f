"""The commands of `python -m preprocess`."""

import json
import os
import shlex
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from preprocess import kernels
from preprocess.console import console, warn
from preprocess.describe import summary, summary_table
from preprocess.errors import WholewordError
from preprocess.options import BuildOptions
from preprocess.read.sources import tokenizer_files
from preprocess.run import state
from preprocess.run.build import run_build
from preprocess.run.events import Pass
from preprocess.run.plan import BuildPlan, identity, plan_build
from preprocess.verify import reindex, verify_dataset
from preprocess.vocabulary import train_vocabulary
from preprocess.write.manifest import Manifest, read_manifest

SAMPLE = "samples/zh"
NOT_UTF8 = 0.1
"""Share of invalid documents above which a file is hardly UTF-8 with a few damaged characters."""
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
        "--input", "-i", help="File, glob or folder of .txt or .jsonl (also .gz, .zst); repeatable."
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
    text_field: Annotated[str, typer.Option(help="Field of a JSON line with the text.")] = "text",
    validation_fraction: Annotated[
        float, typer.Option(help="Share of documents put aside, by a hash of their text.")
    ] = 0.01,
    validation_input: Annotated[
        list[str], typer.Option(help="Validation text, instead of a share; repeatable.")
    ] = [],  # noqa: B006
    test_input: Annotated[list[str], typer.Option(help="Test text; repeatable.")] = [],  # noqa: B006
    dedup: Annotated[
        str,
        typer.Option(help="documents: of documents with the same text, the first stays; or none."),
    ] = "none",
    near_dedup: Annotated[
        float | None,
        typer.Option(
            help="Leave out documents with so large a share in common with an earlier one, such "
            "as 0.8 (MinHash of five characters)."
        ),
    ] = None,
    min_chars: Annotated[
        int | None, typer.Option(help="Leave out documents of fewer characters.")
    ] = None,
    max_chars: Annotated[
        int | None, typer.Option(help="Leave out documents of more characters.")
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option(
            "--filter",
            help="package.module:function that takes a document's text: True or the text that "
            "stays, False or None to leave it out.",
        ),
    ] = None,
    append: Annotated[
        bool, typer.Option(help="Add the inputs to the finished shards in --output.")
    ] = False,
    workers: Annotated[
        int, typer.Option(help="Processes.", show_default="one a processor")
    ] = PROCESSORS,
    split_size: Annotated[
        str, typer.Option(help="Input to a task, such as 64MiB; auto follows the input's size.")
    ] = "auto",
    encoder: Annotated[
        str, typer.Option(help="auto, compiled or reference (any fast tokenizer, slower).")
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
        text_field=text_field,
        validation_fraction=validation_fraction,
        validation_inputs=tuple(validation_input),
        test_inputs=tuple(test_input),
        dedup=dedup,
        near_dedup=near_dedup,
        min_chars=min_chars,
        max_chars=max_chars,
        filter=filter_,
        append=append,
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
    text_field: Annotated[str, typer.Option(help="Field of a JSON line with the text.")] = "text",
    lowercase: Annotated[bool, typer.Option(help="Lower-case all text (uncased).")] = True,
) -> None:
    """Train a BERT WordPiece tokenizer; every Chinese character of the text gets an entry."""
    _warn_of_tokenizers(tuple(inputs))
    with console.status("training the vocabulary"):
        entries = train_vocabulary(
            tuple(inputs),
            output,
            vocab_size,
            text_field=text_field,
            min_frequency=min_frequency,
            lowercase=lowercase,
        )
    console.print(f"{output}: {entries:,} entries")
    console.print(f"next: [bold]python -m preprocess build-shards --tokenizer {output}[/]")


def _build(options: BuildOptions, overwrite: bool, as_json: bool) -> None:
    """Plan and run a build, and say what it made."""
    if overwrite and options.append:
        raise WholewordError("--append: adds to what --overwrite would remove; give one of the two")
    plan = plan_build(options)
    _warn_of_tokenizers((*options.inputs, *options.validation_inputs, *options.test_inputs))
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
    _warn_of_encodings(encodings)
    if not as_json:
        for what, count in audit_counts.items():
            console.print(f"{what.replace('_', ' ')}: {count:,}")
        console.print(
            f"next: [bold]deepspeed train/pretrain.py --data {plan.output} "
            "--deepspeed ds_configs/zero2.json[/]"
        )


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
    console.print(
        f"input: {plan.bytes / 1e6:.1f} MB; files: {len(plan.files)}; tasks: {len(plan.tasks)}; "
        f"workers: {workers}; words: [bold]{segmenter}[/]{chosen}; encoder: [bold]{plan.encoder}[/]"
    )
    if not kernels.are_compiled():
        console.print("the first build compiles its kernels, which takes half a minute, once")
    if plan.encoder_reason:
        console.print(f"[yellow]the compiled encoder cannot be used: {plan.encoder_reason}[/]")


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
            if isinstance(event, Pass):
                continue
            done += event.bytes
            tokens += event.tokens
            audit.update(event.audit)
            seen = encodings.setdefault(event.path, [0, 0])
            seen[0] += event.documents
            seen[1] += event.invalid
            seconds = time.perf_counter() - begin
            rate = f"{done / 1e6 / seconds:.1f} MB/s  {tokens / 1e6 / seconds:.2f} Mtokens/s"
            bar.update(shown, completed=done, rate=rate)
    raise AssertionError("a build ends with a manifest")


def _warn_of_tokenizers(patterns: tuple[str, ...]) -> None:
    for path in tokenizer_files(patterns):
        warn(f"{path}: left out as a tokenizer's vocabulary; if it is text, name it with --input")


def _warn_of_encodings(encodings: dict[str, list[int]]) -> None:
    """Name the files that are hardly UTF-8: otherwise GBK text shows only as odd counts."""
    for path, (documents, invalid) in sorted(encodings.items()):
        if invalid > NOT_UTF8 * documents:
            warn(
                f"{path}: {invalid / documents:.0%} of its documents are not UTF-8, and what was "
                "replaced in them is lost; if it is in another encoding, convert it, for example "
                f"with `iconv -f GB18030 -t UTF-8 {shlex.quote(path)} > utf8.txt`, and build again "
                "with --overwrite"
            )


def _report(manifest: Manifest, folder: Path, title: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary(manifest, folder), ensure_ascii=False))
        return
    console.print(summary_table(manifest, f"{folder}  {title}"))
    slow = [entry.path for entry in manifest.inputs if entry.path.endswith((".gz", ".zst"))]
    if slow and len(manifest.inputs) == len(slow) == 1:
        console.print(
            f"{slow[0]} is one compressed file, which only one worker can read; "
            "decompress it, or cut it into several, to use them all"
        )
