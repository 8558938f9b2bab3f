"""Finished fine-tunings on disk: a comparison that was killed, or has one model more, goes on."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
import xxhash

from preprocess.errors import WholewordError
from preprocess.files import write_bytes
from train.evaluate.finetune import Outcome

RUNS = "runs"
Origin = Literal["made", "stored", "reused"]


@dataclass(frozen=True)
class StoredRun:
    """What one fine-tuning, or one fit of the floor, has reached."""

    outcome: Outcome
    regularization: float
    """The floor's C; 0 of a fine-tuning."""
    origin: Origin
    """Made now, found in this comparison's folder, or taken from another's."""


@dataclass(frozen=True)
class RunStore:
    """The runs of a comparison, each in a file named by the hash of all that it depends on."""

    output: Path
    """The comparison's folder."""
    others: tuple[Path, ...]
    """Folders of comparisons whose runs are as good."""
    common: dict[str, Any]
    """What all runs of the comparison depend on."""

    def find_or_make(
        self, options: dict[str, Any], work: Callable[[], tuple[Outcome, float]]
    ) -> StoredRun:
        """The run of these options; `work` makes its outcome and C where no folder has it.

        Raises:
            WholewordError: its file cannot be written.
        """
        key = {
            **options,
            **self.common,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        name = f"{xxhash.xxh3_128_hexdigest(json.dumps(key, sort_keys=True).encode())}.json"
        for folder in (self.output, *self.others):
            record = _read(folder / RUNS / name)
            if record is None:
                continue
            if folder != self.output:
                self._write(name, record)
            origin: Origin = "stored" if folder == self.output else "reused"
            return StoredRun(Outcome(**record["outcome"]), record["regularization"], origin)
        began = time.monotonic()
        outcome, strength = work()
        record = {
            "options": key,
            "seconds": round(time.monotonic() - began, 1),
            "regularization": strength,
            "outcome": asdict(outcome),
        }
        self._write(name, record)
        return StoredRun(outcome, strength, "made")

    def _write(self, name: str, record: dict[str, Any]) -> None:
        file = self.output / RUNS / name
        try:
            file.parent.mkdir(exist_ok=True)
            write_bytes(file, json.dumps(record).encode(), shared=True)
        except OSError as error:
            raise WholewordError(f"{file}: cannot be written ({error.strerror})") from error


def check_reused(folders: tuple[Path, ...]) -> None:
    """Refuse folders that hold no comparison.

    Raises:
        WholewordError: naming the first.
    """
    for folder in folders:
        if not (folder / RUNS).is_dir():
            raise WholewordError(
                f"--reuse {folder}: holds no fine-tunings ({RUNS}/); name the --output of another "
                "comparison"
            )


def _read(file: Path) -> dict[str, Any] | None:
    """A whole record, or None: one that is cut short is made again."""
    try:
        record: dict[str, Any] = json.loads(file.read_bytes())
        Outcome(**record["outcome"])
        float(record["regularization"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record
