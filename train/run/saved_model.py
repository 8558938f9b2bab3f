"""The models of a run, `final/` and `best/`: plain Hugging Face folders, each with a note."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from transformers import PreTrainedModel

from preprocess.errors import WholewordError
from preprocess.files import first_step, publish, sync_tree, write_json

FINAL = "final"
BEST = "best"
"""The model of the lowest validation loss."""
NOTE = "wholeword.json"


class ModelNote(BaseModel):
    """What a model is, in its `wholeword.json`; that of `final/` says if a run is finished."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    finished: bool
    """False where a run that was stopped wrote it (--save-final-on-stop)."""
    settings: dict[str, Any]
    """What shaped it, as `folder.settings` collects it."""
    loss: float | None = None
    """Of the validation that `best/` was written after."""


def read_note(folder: Path) -> ModelNote | None:
    """The note in a run's final model; None where there is none, or it cannot be read."""
    try:
        return ModelNote.model_validate_json((folder / FINAL / NOTE).read_bytes())
    except (OSError, ValidationError):
        return None


def write_model(
    target: Path,
    model: PreTrainedModel,
    weights: dict[str, Any],
    tokenizer: Path | Callable[[Path], None],
    note: BaseModel,
    again: str = "run the same command again, it continues from the last checkpoint",
) -> Path:
    """Write the model as a plain Hugging Face folder, whole or not at all.

    Args:
        target: the folder to write, inside the run's.
        model: its configuration and class are used, its parameters may be partitioned.
        weights: the whole state dict, on the CPU, in fp32.
        tokenizer: a folder whose files are copied, or what writes them into a folder.
        note: what the model is.
        again: what to do when there is room, for a person.

    Raises:
        WholewordError: it cannot be written.
    """
    aside = target.with_name(f".writing-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        model.save_pretrained(aside, state_dict=weights)
        _say_fp32(aside / "config.json")
        if isinstance(tokenizer, Path):
            shutil.copytree(tokenizer, aside, dirs_exist_ok=True)
        else:
            tokenizer(aside)
        write_json(aside / NOTE, note.model_dump())
        for file in aside.iterdir():
            file.chmod(0o644)  # safetensors makes files that only their owner can read
        sync_tree(aside)
        shutil.rmtree(target, ignore_errors=True)
        publish(aside, target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        cause = getattr(error, "strerror", None) or error
        raise WholewordError(
            f"{target}: cannot be written ({cause}); {first_step(error)} and {again}"
        ) from error
    return target


def _say_fp32(config: Path) -> None:
    """Write the weights' type into config.json, where transformers puts that of training.

    `from_pretrained` takes it for the type to compute in: a model that was trained in bf16 would be
    fine-tuned in bf16, which changes an eighth of the weights instead of all.
    """
    value = json.loads(config.read_text(encoding="utf-8"))
    value.pop("torch_dtype", None)
    write_json(config, value | {"dtype": "float32"})
