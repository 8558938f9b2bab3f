"""A run's folder: who may write into it, what the run in it is, and its final model."""

import fcntl
import json
import shutil
from pathlib import Path
from typing import IO, Any

import torch
from transformers import PreTrainedModel

from preprocess.errors import WholewordError
from preprocess.files import publish, sync_tree, write_json
from preprocess.write.manifest import Manifest
from train.engine.checkpoint import checkpoints
from train.engine.config import EnginePlan
from train.options import Options

OPTIONS = "options.json"
FINAL = "final"
CHECKPOINTS = "checkpoints"


def claim(folder: Path) -> IO[str]:
    """Make the folder and lock it for this process; the lock ends with the process.

    Raises:
        WholewordError: another run is writing there, or the folder holds something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = [path.name for path in folder.iterdir() if path.name != ".lock"]
        if others and not (folder / OPTIONS).exists() and not _is_error_log(others):
            raise WholewordError(
                f"{folder}: holds {sorted(others)[0]} and no training run; choose another "
                "--output-dir"
            )
        lock = (folder / ".lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WholewordError(
            f"{folder}: another run is writing there; wait for it, or choose another --output-dir"
        ) from None
    except OSError as error:
        raise WholewordError(f"{folder}: cannot be written ({error.strerror})") from error
    return lock


def _is_error_log(names: list[str]) -> bool:
    return all(name.startswith("error-") for name in names)


def settings(
    options: Options, plan: EnginePlan, world_size: int, manifest: Manifest
) -> dict[str, Any]:
    """Everything that shapes a run's results, by name; what only watches over it is left out."""
    o = options.optimization
    return {
        "model": options.model.model,
        "config_overrides": options.model.config_overrides,
        "shards": manifest.parts["train"].index_xxh3_128,
        "tokenizer": manifest.tokenizer.sha256,
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
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": plan.schedule,
        "warmup": o.warmup_ratio if plan.warmup_steps is None else plan.warmup_steps,
        "weight_decay": plan.weight_decay,
        "max_grad_norm": plan.config["gradient_clipping"],
        "precision": plan.precision,
        "torch_compile": o.torch_compile,
        "seed": o.seed,
        "early_stopping_patience": options.run.early_stopping_patience,
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What changed between two runs' settings, one 'name: old -> new' each."""
    names = sorted(before.keys() | now.keys())
    return [
        f"{name}: {before.get(name)} -> {now.get(name)}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def stored_settings(folder: Path) -> dict[str, Any] | None:
    """The settings of the run that the folder holds; None where nothing was trained yet."""
    if not (folder / FINAL).exists() and not checkpoints(folder / CHECKPOINTS):
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
        raise WholewordError(
            f"{folder}: holds a run with other options ({'; '.join(changes)}); give the old ones, "
            "another --output-dir, or --allow-changes"
        )
    return not changes and (folder / FINAL).exists()


def store_settings(folder: Path, now: dict[str, Any]) -> None:
    """Write down what this run is."""
    write_json(folder / OPTIONS, now)


def write_final(
    folder: Path, model: PreTrainedModel, weights: dict[str, Any], tokenizer: Path
) -> Path:
    """Write the model as a plain Hugging Face folder, whole or not at all.

    Args:
        folder: the run's.
        model: its configuration and class are used, its parameters may be partitioned.
        weights: the whole state dict, on the CPU.
        tokenizer: the shards' tokenizer folder.
    """
    aside, final = folder / f".writing-{FINAL}", folder / FINAL
    try:
        shutil.rmtree(aside, ignore_errors=True)
        model.config.dtype = torch.float32
        model.save_pretrained(aside, state_dict=weights)
        shutil.copytree(tokenizer, aside, dirs_exist_ok=True)
        for file in aside.iterdir():
            file.chmod(0o644)  # safetensors makes files that only their owner can read
        sync_tree(aside)
        shutil.rmtree(final, ignore_errors=True)
        publish(aside, final)
    except OSError as error:
        raise WholewordError(
            f"{final}: cannot be written ({error.strerror}); make room and run the same command"
        ) from error
    return final
