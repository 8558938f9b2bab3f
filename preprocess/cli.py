"""The commands of `python -m preprocess`."""

import json
import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from preprocess import panels
from preprocess.addresses import check_address, is_address
from preprocess.build_command import build, report
from preprocess.bundled import as_called, bundled
from preprocess.command_line import Command, Group, in_panels
from preprocess.console import console
from preprocess.describe import dropped_table
from preprocess.describe_unfinished import read_progress, show_progress
from preprocess.errors import WholewordError
from preprocess.options import BuildOptions, parse_slice
from preprocess.places import place
from preprocess.read.sources import ReadOptions
from preprocess.sizes import parse_size
from preprocess.verify import reindex, verify_dataset
from preprocess.vocabulary import MIN_FREQUENCY, choose_kind, train_vocabulary
from preprocess.word_preview import cut_text, show_cut
from preprocess.write.manifest import read_manifest

SAMPLE = "samples/zh"
SAMPLE_TOKENIZER = "samples/tokenizer"
PROCESSORS = (
    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
)

app = typer.Typer(
    help="Turn raw text into shards for masked language modelling.",
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Inputs = Annotated[
    list[str],
    typer.Option(
        "--input",
        "-i",
        help="File, glob, folder or address (s3://, hf://datasets/) of .txt, .jsonl, .json, .csv, "
        ".tsv (also .gz, .zst, .bz2, .xz), .parquet or .arrow; repeatable.",
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
Data = Annotated[str | None, typer.Option("--data", help="The same folder.", show_default="shards")]
Folder = Annotated[str | None, typer.Argument(help="Folder or address that build-shards wrote.")]
Tokenizer = Annotated[str, typer.Option(help="Hub id or folder, as for AutoTokenizer.")]
Segmenter = Annotated[
    str,
    typer.Option(
        help="Who decides where words begin: auto, jieba, whitespace, none, or "
        "package.module:function. auto is jieba for Chinese that the vocabulary can spell."
    ),
]
UserDicts = Annotated[list[str], typer.Option(help="User dictionary of jieba; repeatable.")]
Hmm = Annotated[bool, typer.Option(help="Let jieba guess words it does not know.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command("build-shards", cls=in_panels(panels.BUILD_PANELS), epilog=panels.BUILD_EXAMPLES)
def build_shards(
    inputs: Inputs = [SAMPLE],  # noqa: B006 (typer copies it)
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="Folder of the dataset, or an address (s3://)."),
    ] = "shards",
    tokenizer: Tokenizer = SAMPLE_TOKENIZER,
    segmenter: Segmenter = "auto",
    user_dict: UserDicts = [],  # noqa: B006
    hmm: Hmm = True,
    max_length: Annotated[int, typer.Option(help="Tokens a row, special tokens included.")] = 512,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Leave room for a pair's special tokens.")
    ] = False,
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
        bool, typer.Option("--append", help="Add the inputs to the finished shards in --output.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="Processes.", show_default="one a processor")
    ] = None,
    slice_: Annotated[
        str,
        typer.Option(
            "--slice",
            help="I/N: this command does share I of N, I from 0; others do the rest, on "
            "machines that see the same --output.",
        ),
    ] = "0/1",
    slice_wait: Annotated[
        float,
        typer.Option(
            help="Minutes without progress after which a slice no longer waits for the others "
            "(--dedup and --near-dedup need all text)."
        ),
    ] = 30,
    engine: Annotated[
        str, typer.Option(help="Where tasks run: local, or ray (all nodes of a Ray cluster).")
    ] = "local",
    ray_address: Annotated[
        str, typer.Option(help="HOST:PORT of the cluster's head; auto: this machine's cluster.")
    ] = "auto",
    split_size: Annotated[
        str, typer.Option(help="Input to a task, such as 64MiB; auto follows the input's size.")
    ] = "auto",
    encoder: Annotated[
        str,
        typer.Option(
            help="Who tokenizes: compiled (own code), library (tokenizers; slower, for any fast "
            "tokenizer), reference (plain Python, to check the others; very slow), or auto: "
            "compiled where it can, else library."
        ),
    ] = "auto",
    audit: Annotated[
        int, typer.Option(help="Compare every Nth document with the reference; 0: never.")
    ] = 1000,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace shards that are there.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Segment, tokenize, and write sharded Arrow files with word boundaries."""
    options = BuildOptions(
        inputs=tuple(map(bundled, inputs)),
        output=output,
        tokenizer=bundled(tokenizer),
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
        dedup=dedup,
        near_dedup=near_dedup,
        min_chars=min_chars,
        max_chars=max_chars,
        filter=filter_,
        append=append,
        split_size=_parse_size(split_size),
        workers=PROCESSORS if workers is None and engine != "ray" else workers,
        engine=engine,
        ray_address=ray_address,
        slice=parse_slice(slice_),
        slice_wait=slice_wait,
        encoder=encoder,
        audit=audit,
    )
    build(options, overwrite, as_json)


@app.command(cls=Command, epilog=panels.VERIFY_EXAMPLES)
def verify(
    folder: Folder = None,
    data: Data = None,
    reindex_first: Annotated[
        bool, typer.Option("--reindex", help="Make every index.arrow again from the shards.")
    ] = False,
) -> None:
    """Check the shards against the manifest; exit 1 at the first that is wrong."""
    shards = _one_folder(folder, data)
    if reindex_first:
        reindex(shards)
        console.print("index written")
    files = 0
    with console.status("verifying") as status:
        for name in verify_dataset(shards):
            files += 1
            status.update(f"verifying {name}")
    console.print(f"[green]{shards}: all {files} files match the manifest[/]")


@app.command(cls=Command, epilog=panels.DESCRIBE_EXAMPLES)
def describe(
    folder: Folder = None,
    data: Data = None,
    dropped: Annotated[
        bool, typer.Option("--dropped", help="Show samples of what was left out, by reason.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a dataset holds, was left out and looks wrong; how far an unfinished one is."""
    shards = _one_folder(folder, data)
    if progress := read_progress(shards):
        show_progress(progress, shards, as_json)
        return
    manifest = read_manifest(shards)
    if dropped and not as_json:
        none = f"{shards}: nothing was left out"
        console.print(dropped_table(manifest) if manifest.dropped else none)
    else:
        report(manifest, shards, "", as_json)


@app.command(cls=Command, epilog=panels.PREVIEW_EXAMPLES)
def preview(
    text: Annotated[str, typer.Option(help="A sentence.")],
    tokenizer: Tokenizer = SAMPLE_TOKENIZER,
    segmenter: Segmenter = "auto",
    user_dict: UserDicts = [],  # noqa: B006
    hmm: Hmm = True,
    as_json: Json = False,
) -> None:
    """Show how a sentence is cut into words and tokens, without a build."""
    cut = cut_text(text, bundled(tokenizer), segmenter, tuple(user_dict), hmm)
    if as_json:
        print(json.dumps(asdict(cut), ensure_ascii=False))
    else:
        show_cut(cut)


@app.command("train-vocab", cls=Command, epilog=panels.VOCABULARY_EXAMPLES)
def train_vocab(
    inputs: Inputs = ["samples/zh", "samples/en"],  # noqa: B006
    output: Annotated[Path, typer.Option("--output", "-o", help="The new folder.")] = Path(
        "tokenizer"
    ),
    vocab_size: Annotated[int, typer.Option(help="Entries, special tokens included.")] = 30_000,
    kind: Annotated[
        str | None,
        typer.Option(
            "--type",
            help="wordpiece, bpe (byte-level) or unigram.",
            show_default="that of --preset-for",
        ),
    ] = None,
    preset_for: Annotated[
        str | None,
        typer.Option(
            help="Family whose special tokens it gets: bert (wordpiece), modernbert, roberta "
            "(bpe), xlm-roberta or deberta-v2 (unigram).",
            show_default="by the type",
        ),
    ] = None,
    min_frequency: Annotated[
        int | None,
        typer.Option(
            help="Of a piece that joins two others; not of Unigram.",
            show_default=str(MIN_FREQUENCY),
        ),
    ] = None,
    text_field: TextFields = ["text"],  # noqa: B006
    field_separator: FieldSeparator = r"\n",
    encoding: Encoding = "auto",
    lowercase: Annotated[
        bool | None,
        typer.Option(
            "--lowercase/--no-lowercase",
            help="Lower-case all text (uncased).",
            show_default="WordPiece alone",
        ),
    ] = None,
) -> None:
    """Train a tokenizer: BERT's WordPiece, byte-level BPE or Unigram.

    Every Chinese character of the text gets an entry; byte-level BPE knows all by their bytes.
    """
    reading = ReadOptions(text_fields=tuple(text_field), field_separator=_unescape(field_separator))
    with console.status("training the vocabulary"):
        entries = train_vocabulary(
            tuple(map(bundled, inputs)),
            output,
            vocab_size,
            reading=reading,
            encoding=encoding,
            kind=kind,
            family=preset_for,
            min_frequency=min_frequency,
            lowercase=lowercase,
        )
    often = MIN_FREQUENCY if min_frequency is None else min_frequency
    if choose_kind(kind, preset_for)[0] == "unigram":
        often = 0  # it has no such rule
    console.print(f"{output}: {entries:,} entries{_why_fewer(entries, vocab_size, often)}")
    words = ["build-shards", "--input", *inputs, "--tokenizer", str(output)]
    console.print(as_called(f"next: python -m preprocess {shlex.join(words)}"), markup=False)


def _why_fewer(entries: int, asked: int, often: int) -> str:
    """Why a vocabulary has fewer entries than were asked for; empty where it has as many."""
    if entries >= asked:
        return ""
    which = f" that occur {often} times or more" if often > 1 else ""
    return f" of {asked:,}: the text has no more pieces{which}"


def _one_folder(folder: str | None, data: str | None) -> Path:
    """The folder that is named, as an argument or with --data."""
    if folder and data and place(folder) != place(data):
        raise WholewordError(f"{folder} and --data {data}: name one folder")
    named = folder or data or "shards"
    if is_address(named):
        check_address(named, "--data")
    return place(named)


def _unescape(separator: str) -> str:
    return separator.replace(r"\n", "\n").replace(r"\t", "\t")


def _parse_size(text: str) -> int | None:
    """Bytes; None for `auto`."""
    if text == "auto":
        return None
    return parse_size("--split-size", text, "use auto, or a size such as 64MiB")
