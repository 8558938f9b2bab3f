"""A run's folder: who may write into it, and what the run in it is."""

import contextlib
import fcntl
import json
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from preprocess.errors import WholewordError
from preprocess.files import first_step, write_json
from train.data.mixture import Mixture
from train.data.philox import DRAW_LAYOUT
from train.engine.checkpoint import checkpoints, read_progress
from train.engine.config import EnginePlan
from train.engine.place import make_folder, writable
from train.options import Options
from train.run.saved_model import FINAL, read_note

OPTIONS = "options.json"
CHECKPOINTS = "checkpoints"


def claim(folder: Path) -> IO[str]:
    """Make the folder and lock it for this process; the lock ends with the process.

    Raises:
        WholewordError: another run is writing there, or the folder holds something else.
    """
    make_folder(folder)
    with writable(folder):
        # Hidden files are the lock, and what a full disk or a kill has left.
        others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
        if others and not (folder / OPTIONS).exists() and not _is_error_log(others):
            raise WholewordError(
                f"{folder}: holds {sorted(others)[0]} and no training run; choose another "
                "--output-dir"
            )
        lock = (folder / ".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WholewordError(
                f"{folder}: another run is writing there; wait for it, or choose another "
                "--output-dir"
            ) from None
    return lock


def _is_error_log(names: list[str]) -> bool:
    return all(name.startswith("error-") for name in names)


def settings(
    options: Options, plan: EnginePlan, world_size: int, mixture: Mixture
) -> dict[str, Any]:
    """Everything that shapes a run's results, by name; what only watches over it is left out."""
    o = options.optimization
    shards = [dataset.manifest.parts["train"].index_xxh3_128 for dataset in mixture.datasets]
    return {
        "model": options.model.model,
        "config_overrides": options.model.config_overrides,
        "shards": shards[0] if len(shards) == 1 else shards,
        "data_weights": list(mixture.weights) if len(shards) > 1 else [],
        "tokenizer": mixture.first.manifest.tokenizer.sha256,
        "masking": options.data.masking,
        "mlm_probability": options.data.mlm_probability,
        "mask_replace": options.data.mask_replace,
        "sentence_order": options.data.sentence_order,
        "next_sentence": options.data.next_sentence,
        "num_train_epochs": o.num_train_epochs,
        "max_steps": o.max_steps,
        "per_device_train_batch_size": plan.micro_batch_size,
        "global_batch_size": plan.micro_batch_size * plan.accumulation * world_size,
        "batch_warmup": o.batch_warmup,
        "optimizer": plan.config["optimizer"]["type"],
        "optimizer_params": _other_params(plan),
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": plan.schedule,
        "warmup": o.warmup_ratio if plan.warmup_steps is None else plan.warmup_steps,
        "head_warmup": o.head_warmup,
        "weight_decay": plan.weight_decay,
        "max_grad_norm": plan.config["gradient_clipping"],
        "precision": plan.precision,
        "torch_compile": o.torch_compile,
        "seed": o.seed,
        "metric_for_best_model": options.run.metric_for_best_model,
        "early_stopping_patience": options.run.early_stopping_patience,
        "max_eval_rows": options.run.max_eval_rows,
        "draw_layout": DRAW_LAYOUT,
    }


def _other_params(plan: EnginePlan) -> dict[str, Any]:
    """The optimizer's values that no option has: betas, eps, and what else the file gives."""
    named = ("lr", "weight_decay", "fused", "torch_adam")
    return {k: v for k, v in plan.config["optimizer"]["params"].items() if k not in named}


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What changed between two runs' settings, one 'name: old -> new' each.

    What a version before this one did not write down is passed over.
    """
    names = sorted(before.keys() | now.keys())
    return [
        f"{name}: {before[name]} -> {now.get(name)}"
        for name in names
        if name in before and before[name] != now.get(name)
    ]


def stored_settings(folder: Path) -> dict[str, Any] | None:
    """The settings of the run that the folder holds; None where nothing was trained yet.

    They are those of its newest checkpoint: options.json is for people, and may be of a run that
    never came to a step.
    """
    saved = checkpoints(folder / CHECKPOINTS)
    for checkpoint in saved:
        with contextlib.suppress(OSError, ValidationError):
            return read_progress(checkpoint).settings
    note = read_note(folder)
    if note is not None:
        return note.settings
    if not saved and not (folder / FINAL).exists():
        return None
    try:
        value = json.loads((folder / OPTIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WholewordError(
            f"{folder / OPTIONS}: cannot be read ({error}); choose another --output-dir"
        ) from error
    if not isinstance(value, dict):
        raise WholewordError(f"{folder / OPTIONS}: damaged; choose another --output-dir")
    return value


def check_unchanged(folder: Path, now: dict[str, Any], options: Options) -> bool:
    """Whether the folder holds a finished run of these settings.

    That follows from the note in its final model alone: a run that was extended and stopped has an
    older final model, and is not finished.

    Raises:
        WholewordError: it holds a run of other settings, or one that must not be continued.
    """
    before = stored_settings(folder)
    if before is None:
        return False
    if options.run.resume_from_checkpoint == "none":
        raise WholewordError(
            f"{folder}: holds a run, and --resume-from-checkpoint none forbids to continue it; "
            "choose another --output-dir"
        )
    changes = differences(before, now)
    if changes and not options.run.allow_changes:
        raise _refusal(folder, changes, before["shards"] != now["shards"])
    note = read_note(folder)
    return note is not None and note.finished and not differences(note.settings, now)


def _refusal(folder: Path, changes: list[str], other_data: bool) -> WholewordError:
    remedy = "give the old ones, another --output-dir, or --allow-changes"
    if other_data:
        weights = f"--model {folder / FINAL} --output-dir NEW"
        if not (folder / FINAL).exists():
            weights += "; stopped with --save-final-on-stop, it leaves them there"
        remedy = (
            f"to go on with other data, start another run from its weights ({weights}), or read "
            "the new data to its end in this one with --allow-changes"
        )
    return WholewordError(
        f"{folder}: holds a run with other options ({'; '.join(changes)}); {remedy}"
    )


def store_settings(folder: Path, now: dict[str, Any]) -> None:
    """Write down for people what this run is.

    Raises:
        WholewordError: it cannot be written.
    """
    try:
        write_json(folder / OPTIONS, now)
    except OSError as error:
        raise WholewordError(
            f"{folder / OPTIONS}: cannot be written ({error.strerror}); {first_step(error)} and "
            "run the same command again"
        ) from error
