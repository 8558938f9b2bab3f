"""The commands of `python -m train`."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedModel

from preprocess.command_line import Command, Group, in_panels
from preprocess.console import console, warn
from preprocess.encode.tokenizer import hub_answers, load_tokenizer
from preprocess.errors import WholewordError
from preprocess.places import place
from preprocess.write.manifest import read_manifest
from train import panels
from train.adapt_cli import register as register_adapt
from train.compare_cli import register as register_compare
from train.compare_cli import split_commas
from train.data.loader import evaluation_batches
from train.data.preview import preview
from train.data.shard_dataset import ShardDataset
from train.data.windows import LoaderOptions
from train.engine.process_group import Ranks
from train.evaluate import prediction
from train.evaluate.evaluation import (
    Scores,
    evaluate,
    format_perplexity,
    perplexity,
    token_frequencies,
)
from train.model.attention import gpu_capability
from train.model.from_nothing import has_config_alone
from train.model.load import load_model, new_heads
from train.model.packed import prepare_packed, prepare_padded, why_padded
from train.model.presets import check_name
from train.model.shards_vocabulary import shards_vocabulary
from train.model.vocabulary_check import (
    check_encoder_weights,
    check_folder,
    position_offset,
    readable_errors,
)
from train.report.progress import counted, show_progress, silence_libraries
from train.run.average import average

SHOWN_LINES = 5
"""Masked lines that predict shows, at most; the file has them all."""
_HALF_WAY = 0.5
"""What average takes for --share."""

app = typer.Typer(
    help="Look at what training sees and at what a model has learned.",
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Model = Annotated[str, typer.Option(help="A hub id or folder, such as RUN/final.")]
Data = Annotated[str, typer.Option(help="Folder or address that build-shards wrote.")]
Seed = Annotated[int, typer.Option(min=0, help="Decides what is masked.")]
Share = Annotated[
    float, typer.Option(min=0.001, max=0.999, help="Expected share of masked tokens.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Trust = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run Python code that a hub model brings along.")
]


@app.command("evaluate", cls=in_panels(panels.EVALUATE_PANELS), epilog=panels.EVALUATE_EXAMPLES)
def evaluate_command(
    model: Model = "runs/default/final",
    data: Data = "shards",
    part: Annotated[str, typer.Option(help="train, validation or test.")] = "validation",
    batch_size: Annotated[int, typer.Option(min=1, help="Rows of full length in a batch.")] = 8,
    max_rows: Annotated[
        int, typer.Option(min=0, help="At most so many rows, evenly spaced; 0 takes all.")
    ] = 0,
    masking: Annotated[str, typer.Option(help="wwm, token, span or ngram.")] = "wwm",
    mlm_probability: Share = 0.15,
    seed: Seed = 42,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Loss, perplexity and accuracies of any model on any shards that fit it."""
    silence_libraries()
    _check_model(model)
    dataset = ShardDataset(place(data), part)
    if not len(dataset):
        raise WholewordError(f"{data}: the {part} part has no rows; choose another --part")
    loaded, packed = _load_for_shards(model, dataset, trust_remote_code)
    options = LoaderOptions(
        micro_batch_size=batch_size,
        max_length=dataset.manifest.max_length,
        seed=seed,
        masking=masking,
        mlm_probability=(mlm_probability, mlm_probability),
        layout="packed" if packed else "padded",
        first_position=position_offset(loaded),
    )
    frequencies = token_frequencies(ShardDataset(place(data), "train"))
    ranks = Ranks(rank=0, world_size=1, device=loaded.device)
    rows = min(max_rows or len(dataset), len(dataset))
    batches = evaluation_batches(dataset, options, max_rows)
    with show_progress("rows", rows) as advance:
        counted = (advance(batch, batch.rows) for batch in batches)
        scores = evaluate(loaded, counted, frequencies, ranks)
    assert scores is not None  # nobody interrupts
    if as_json:
        print(json.dumps(scores.as_dict(), indent=2))
    else:
        of = "" if rows == len(dataset) else f", {rows:,} of {len(dataset):,} rows"
        console.print(_scores_table(f"{model} on {data}, {part}{of}", scores))


@app.command("predict", cls=in_panels(panels.PREDICT_PANELS), epilog=panels.PREDICT_EXAMPLES)
def predict_command(
    source: Annotated[Path, typer.Option("--input", "-i", help="Text file, a sample a line.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV: src, pred, mask.")],
    model: Model = "runs/default/final",
    segmenter: Annotated[
        str, typer.Option(help="auto, jieba, whitespace, none, or package.module:function.")
    ] = "auto",
    user_dict: Annotated[
        list[str], typer.Option(help="User dictionary of jieba; repeatable.")
    ] = [],  # noqa: B006
    max_rows: Annotated[
        int, typer.Option(min=0, help="At most so many lines, from the first; 0 takes all.")
    ] = 0,
    mlm_probability: Share = 0.15,
    words: Annotated[
        str, typer.Option(help="Mask these, commas between, wherever they stand; else at random.")
    ] = "",
    seed: Seed = 42,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Mask words in every line of a text and let a model fill them in."""
    silence_libraries()
    _check_model(model)
    every = prediction.read_samples(source)
    lines = every[: max_rows or None]
    tokenizer = load_tokenizer(model)
    prediction.warn_of_masks(lines, tokenizer)
    loaded = _load_for_text(model, trust_remote_code)
    encoder = prediction.encoder_for(tokenizer, segmenter, lines, tuple(user_dict))
    named = tuple(filter(None, re.split("[,，、]", words)))
    with show_progress("lines", len(lines)) as advance:
        filled = prediction.predict(loaded, tokenizer, encoder, lines, mlm_probability, seed, named)
        found = [advance(line, 1) for line in filled]
    prediction.write_csv(output, found)
    summary = prediction.summarize(found)
    if as_json:
        print(json.dumps(asdict(summary), indent=2))
        return
    of = "" if len(lines) == len(every) else f" of {len(every):,}"
    console.print(_predictions_table(found))
    console.print(
        f"{output}: {summary.lines:,}{of} lines, exact match {summary.exact_match:.1%}, "
        f"token accuracy {summary.token_accuracy:.1%}"
    )


@app.command("preview", cls=in_panels(panels.PREVIEW_PANELS), epilog=panels.PREVIEW_EXAMPLES)
def preview_command(
    data: Data = "shards",
    rows: Annotated[int, typer.Option(min=1, help="How many rows, at most.")] = 8,
    masking: Annotated[str, typer.Option(help="wwm, token, span or ngram.")] = "wwm",
    mlm_probability: Share = 0.15,
    seed: Seed = 42,
) -> None:
    """Show rows as training sees them: words apart, masks in braces and in colour."""
    max_length = read_manifest(place(data)).max_length
    options = LoaderOptions(
        micro_batch_size=rows,
        max_length=max_length,
        seed=seed,
        masking=masking,
        mlm_probability=(mlm_probability, mlm_probability),
    )
    preview(place(data), rows, options)


register_compare(app)
register_adapt(app)


def _read_number(option: str, text: str, remedy: str) -> float:
    """The value of an option; whether it is in range is for `average` to say."""
    try:
        return float(text)
    except ValueError:
        raise WholewordError(f"{option} {text}: not a number; {remedy}") from None


def _read_share(text: str) -> float:
    return _read_number("--share", text, "write 0.5 for half of the way")


@app.command("average", cls=Command, epilog=panels.AVERAGE_EXAMPLES)
def average_command(
    models: Annotated[
        list[str],
        typer.Argument(help="Models (folders, hub ids) or checkpoints, RUN/checkpoints/step-N."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    weights: Annotated[
        list[str] | None, typer.Option(help="Of each model, as 3 1 or 3,1; equal ones without.")
    ] = None,
    interpolate: Annotated[
        str | None,
        typer.Option(help="Go from this model towards the mean, as far as --share says."),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            parser=_read_share,
            help="How far --interpolate goes, from 0, which stays there, to 1.",
            show_default=str(_HALF_WAY),
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """The mean of models' weights, or a model between another one and the mean."""
    silence_libraries()
    if share is not None and interpolate is None:
        raise WholewordError(
            f"--share {share:g}: has no meaning without --interpolate; name the model to go from"
        )
    usual = 1.0 if interpolate is None else _HALF_WAY
    values = [
        _read_number("--weights", text, "write one for each model, as 3 1")
        for text in split_commas(weights or [])
    ]
    made = average(models, values, output, interpolate, usual if share is None else share)
    if as_json:
        print(json.dumps({"model": str(made.folder), "parameters": made.parameters}))
        return
    console.print(f"{made.folder}: {made.parameters:,} weights", highlight=False)
    if made.new_in_base:
        console.print(f"{interpolate} lacks {len(made.new_in_base)} of them: those are the mean's")


def _check_model(name: str) -> None:
    check_name(name)
    check_folder(name, "give --model the folder of a model, such as RUN/final, or a hub id")


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _load_for_shards(
    name: str, dataset: ShardDataset, trust_remote_code: bool
) -> tuple[PreTrainedModel, bool]:
    """The model, and whether it takes packs."""
    if has_config_alone(name):
        raise WholewordError(f"{name}: has a config.json and no weights; give RUN/final")
    vocabulary = shards_vocabulary(dataset.folder, dataset.manifest)
    notes: list[str] = []
    model: Any = load_model(name, vocabulary, trust_remote_code=trust_remote_code, notes=notes)
    _warn_of_a_new_head(name, notes)
    model.to(_device())
    where = model.device
    packed = not why_padded(model, where.type, model.dtype, gpu_capability(where))
    (prepare_packed if packed else prepare_padded)(model)
    return model, packed


def _load_for_text(name: str, trust_remote_code: bool) -> Any:
    """The model, prepared for padded rows."""
    from transformers import AutoModelForMaskedLM

    with readable_errors(name, remedy="give RUN/final"):
        model, report = AutoModelForMaskedLM.from_pretrained(
            name,
            dtype=torch.float32,
            weights_only=True,
            output_loading_info=True,
            trust_remote_code=trust_remote_code,
            local_files_only=Path(name).is_dir() or not hub_answers(),
        )
    missing = set(report["missing_keys"])
    check_encoder_weights(model, missing, name)
    _warn_of_a_new_head(name, new_heads(missing, name, model.config.vocab_size))
    prepare_padded(model)
    model.to(_device())
    return model.eval()


def _warn_of_a_new_head(name: str, notes: list[str]) -> None:
    """Say that a head is new, where there are notes that it is."""
    if notes:
        warn(
            f"{name}: has no masked-LM head, so a new one guesses, and what follows says nothing "
            "of this model; pretrain it first"
        )


def _predictions_table(found: list[prediction.Prediction]) -> Table:
    masked = [line for line in found if line.tokens]
    shown = masked[:SHOWN_LINES]
    title = f"{len(shown)} of {counted(len(masked), 'masked line')} shown"
    table = Table(title=title, title_justify="left", show_lines=True)
    for column in ("masked", "filled in", "correct"):
        table.add_column(column, overflow="fold")
    for line in shown:
        share = f"{line.correct} of {line.tokens}"
        table.add_row(escape(line.masked), _coloured(line), share)
    return table


def _coloured(line: prediction.Prediction) -> Text:
    """The line as the model fills it: green is what it has found, red is wrong."""
    styles = {None: "", True: "bold green", False: "bold red"}
    return Text.assemble(*((piece, styles[found]) for piece, found in line.pieces))


def _scores_table(title: str, scores: Scores) -> Table:
    table = Table(title=title)
    table.add_column("")
    table.add_column("model", justify="right")
    table.add_column("token frequencies alone", justify="right")
    table.add_row("loss (nats)", f"{scores.loss:.4f}", f"{scores.unigram_loss:.4f}")
    unigram = perplexity(scores.unigram_loss)
    table.add_row("perplexity", format_perplexity(scores.perplexity), format_perplexity(unigram))
    table.add_row("masked accuracy", f"{scores.accuracy:.1%}", f"{scores.commonest_share:.1%}")
    table.add_row("whole-word accuracy", f"{scores.word_accuracy:.1%}", "")
    table.add_row("masked tokens", f"{scores.masked:,}", "")
    return table
