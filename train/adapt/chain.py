"""The whole chain: text, shards, pretraining with words and with tokens, comparison, a sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import device
from transformers import AutoConfig, AutoModelForMaskedLM

from preprocess.errors import WholewordError
from preprocess.files import write_json
from preprocess.write.manifest import read_manifest
from train.adapt import commands
from train.adapt.conclusion import conclude, masked_losses
from train.adapt.corpus import write_corpus
from train.adapt.options import AdaptOptions
from train.adapt.rules import Schedule, make_schedule, vocabulary_size
from train.evaluate.claim import claim_output
from train.evaluate.contenders import has_tokenizer
from train.evaluate.seen import find_seen
from train.evaluate.splits import leave_out, make_split, resolve_labels
from train.evaluate.task_file import read_task
from train.model.flops import FlopCounter
from train.model.from_nothing import begins_from_nothing, new_config
from train.model.presets import PRESETS, check_name
from train.model.shards_vocabulary import shards_vocabulary
from train.model.vocabulary_check import check_folder, readable_errors
from train.run.saved_model import read_note

REPORT = "adapt.json"
CONTROL = "control"
"""The name of the model that took the same steps on another domain's text."""
_MASKED_SHARE = 0.15
_SPECIALS = 2
"""Special tokens of a row; a schedule need not be more exact than that."""


def adapt(options: AdaptOptions, say: Callable[[str], None]) -> dict[str, Any]:
    """Do what is not done yet; returns what adapt.json holds.

    Raises:
        WholewordError: an input is not fit, `options.output` is another adaptation's, or a command
            has failed.
    """
    check_name(options.model)
    check_folder(options.model, "give a model's folder or a hub id")
    if options.tokenizer is not None:
        check_folder(options.tokenizer, "give --tokenizer a folder or a hub id")
    task = read_task(options.task, options.columns, options.test)
    split = make_split(task)
    resolve_labels(task, split, options.labels)  # else the comparison says it, hours later
    claim_output(options.output, _identity(options, task.fingerprint), "an adaptation")
    training, validation = write_corpus(task, split, options.output / "text", options.transductive)
    tokenizer = _tokenizer(options, training, say)
    domain = options.output / "shards"
    inputs = [str(training), *options.text]
    _build(inputs, tokenizer, domain, options, validation, say)
    general = _build_other(options.general, tokenizer, "general", options, say)
    control = _build_other(options.control, tokenizer, CONTROL, options, say)
    seen = [folder for folder in (domain, general) if folder is not None]
    if not options.transductive:  # else the comparison says it, hours later
        leave_out(task, split, set().union(*(find_seen(task, split.test, s) for s in seen)))
    schedule = _schedule(options, domain)
    _say_schedule(schedule, domain, say)
    for seed in range(1, options.pretraining_seeds + 1):
        for name in options.maskings:
            _pretrain(options, schedule, name, seed, domain, general, say)
        if control is not None:
            _pretrain(options, schedule, CONTROL, seed, control, None, say)
    names = [*options.maskings, *[CONTROL] * (control is not None)]
    commands.run_command(commands.compare(options, tokenizer, names, seen), say)
    report = json.loads((options.output / "report" / "report.json").read_text(encoding="utf-8"))
    result = {
        **conclude(options, report, list(options.maskings)),
        "masked_losses": masked_losses(options, list(options.maskings)),
        "schedule": vars(schedule),
    }
    write_json(options.output / REPORT, result)
    return result


def _identity(options: AdaptOptions, fingerprint: str) -> dict[str, Any]:
    """Everything that the results depend on, as JSON has it."""
    found = {"task_content": fingerprint, **vars(options)}
    del found["output"]
    plain: dict[str, Any] = json.loads(json.dumps(found, default=_plain))
    return plain


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else vars(value)


def _tokenizer(options: AdaptOptions, training: Path, say: Callable[[str], None]) -> str:
    """The one asked for, the model's, or one that is trained for a model without one."""
    if options.tokenizer is not None:
        return options.tokenizer
    brings_one = not begins_from_nothing(options.model) or has_tokenizer(options.model)
    if brings_one and options.model not in PRESETS:
        return options.model
    folder = options.output / "tokenizer"
    if not folder.exists():
        size = vocabulary_size(len(training.read_text(encoding="utf-8")))
        commands.run_command(
            commands.train_vocab([str(training), *options.text], size, folder), say
        )
    return str(folder)


def _build(
    inputs: list[str],
    tokenizer: str,
    output: Path,
    options: AdaptOptions,
    validation: Path | None,
    say: Callable[[str], None],
) -> None:
    commands.run_command(
        commands.build_shards(inputs, tokenizer, output, options.max_length, validation), say
    )


def _build_other(
    inputs: tuple[str, ...],
    tokenizer: str,
    name: str,
    options: AdaptOptions,
    say: Callable[[str], None],
) -> Path | None:
    """Shards of text that is not the domain's, in a folder called `name`; None without text."""
    if not inputs:
        return None
    _build(list(inputs), tokenizer, options.output / name, options, None, say)
    return options.output / name


def _schedule(options: AdaptOptions, domain: Path) -> Schedule:
    manifest = read_manifest(domain)
    part = manifest.parts["train"]
    is_new = begins_from_nothing(options.model)
    if is_new:
        config, _ = new_config(options.model, shards_vocabulary(domain, manifest))
    else:
        with readable_errors(options.model):
            config = AutoConfig.from_pretrained(options.model)
    with readable_errors(options.model), device("meta"):
        counter = FlopCounter(AutoModelForMaskedLM.from_config(config))
    return make_schedule(
        part.tokens + _SPECIALS * part.rows,
        options.max_length,
        config.hidden_size,
        6.0 * (counter.body + _MASKED_SHARE * counter.head),
        is_new=is_new,
        mixes=bool(options.general),
        quick=options.quick,
        passes=options.passes,
        learning_rate=options.learning_rate,
    )


def _pretrain(
    options: AdaptOptions,
    schedule: Schedule,
    name: str,
    seed: int,
    shards: Path,
    general: Path | None,
    say: Callable[[str], None],
) -> None:
    """Pretrain to the end: a run that a signal stops has saved its state, and exits with 0."""
    commands.run_command(commands.pretrain(options, schedule, name, seed, shards, general), say)
    folder = commands.pretraining_folder(options, name, seed)
    note = read_note(folder)
    if note is None or not note.finished:
        raise WholewordError(
            f"{folder}: this pretraining was stopped before its end; run the same command again, "
            "it continues"
        )


def _say_schedule(schedule: Schedule, domain: Path, say: Callable[[str], None]) -> None:
    passes = "1 pass" if schedule.passes == 1 else f"{schedule.passes:.3g} passes"
    say(
        f"by the rules of docs/adapt.md: {passes} over {domain}, "
        f"{schedule.tokens:,} tokens in {schedule.steps:,} steps of {schedule.rows} full rows, "
        f"learning rate {schedule.learning_rate:g}, warm-up over 6% of the steps"
    )
