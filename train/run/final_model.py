"""The final model of a run: a plain Hugging Face folder, and a note of what it is the end of."""

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from transformers import PreTrainedModel

from preprocess.errors import WholewordError
from preprocess.files import publish, sync_tree, write_json

FINAL = "final"
NOTE = "wholeword.json"


class FinalNote(BaseModel):
    """What `final/` is, in `final/wholeword.json`: only that says whether a run is finished."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    finished: bool
    """False where a run that was stopped wrote it (--save-final-on-stop)."""
    settings: dict[str, Any]
    """What shaped it, as `folder.settings` collects it."""


def read_note(folder: Path) -> FinalNote | None:
    """The note in a run's final model; None where there is none, or it cannot be read."""
    try:
        return FinalNote.model_validate_json((folder / FINAL / NOTE).read_bytes())
    except (OSError, ValidationError):
        return None


def write_final(
    folder: Path,
    model: PreTrainedModel,
    weights: dict[str, Any],
    tokenizer: Path,
    note: FinalNote,
) -> Path:
    """Write the model as a plain Hugging Face folder, whole or not at all.

    Args:
        folder: the run's.
        model: its configuration and class are used, its parameters may be partitioned.
        weights: the whole state dict, on the CPU, in fp32.
        tokenizer: the shards' tokenizer folder.
        note: what the model is.

    Raises:
        WholewordError: it cannot be written.
    """
    aside, final = folder / f".writing-{FINAL}", folder / FINAL
    try:
        shutil.rmtree(aside, ignore_errors=True)
        model.save_pretrained(aside, state_dict=weights)
        _say_fp32(aside / "config.json")
        shutil.copytree(tokenizer, aside, dirs_exist_ok=True)
        write_json(aside / NOTE, note.model_dump())
        for file in aside.iterdir():
            file.chmod(0o644)  # safetensors makes files that only their owner can read
        sync_tree(aside)
        shutil.rmtree(final, ignore_errors=True)
        publish(aside, final)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        cause = getattr(error, "strerror", None) or error
        raise WholewordError(
            f"{final}: cannot be written ({cause}); make room and run the same command again, it "
            "continues from the last checkpoint"
        ) from error
    return final


def _say_fp32(config: Path) -> None:
    """Write the weights' type into config.json, where transformers puts that of training.

    `from_pretrained` takes it for the type to compute in: a model that was trained in bf16 would be
    fine-tuned in bf16, which changes an eighth of the weights instead of all.
    """
    value = json.loads(config.read_text(encoding="utf-8"))
    value.pop("torch_dtype", None)
    write_json(config, value | {"dtype": "float32"})
