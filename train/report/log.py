"""What a run reports to files and services: metrics.jsonl, TensorBoard, Weights & Biases."""

import contextlib
import json
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from preprocess.errors import WholewordError
from preprocess.files import first_step, write_text

METRICS = "metrics.jsonl"


class MetricsLog:
    """Writes metrics where they are wanted; rank 0 has one.

    A run that continues drops what was logged after the checkpoint, so that the files tell one
    story.

    Args:
        folder: the run's.
        step: where the run begins or continues.
        report_to: "none" writes metrics.jsonl alone, "tensorboard" that too, "wandb" all three.
        settings: what Weights & Biases should know about the run.
    """

    def __init__(self, folder: Path, step: int, report_to: str, settings: dict[str, Any]) -> None:
        self.path = folder / METRICS
        with _writing(folder):
            _cut(self.path, step)
            self._file = self.path.open("a", encoding="utf-8")
            self._wandb = _start_wandb(folder, settings) if report_to == "wandb" else None
            self._board = None if report_to == "none" else _start_tensorboard(folder, step)

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Log values of a step; `kind` is "train", "run" or a validation's name."""
        with _writing(self.path.parent):
            self._write(step, kind, values)

    def _write(self, step: int, kind: str, values: dict[str, float]) -> None:
        # JSON has no word for what is not a number.
        finite = {name: v if math.isfinite(v) else None for name, v in values.items()}
        self._file.write(json.dumps({"step": step, "kind": kind} | finite) + "\n")
        self._file.flush()
        for name, value in values.items():
            if self._board is not None:
                self._board.add_scalar(f"{kind}/{name}", value, step)
        if self._wandb is not None:
            self._wandb.log({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        """Finish every file."""
        with _writing(self.path.parent):
            self._file.close()
            if self._board is not None:
                self._board.close()
            if self._wandb is not None:
                self._wandb.finish()


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what a full disk raises into one line."""
    try:
        yield
    except OSError as error:
        raise WholewordError(
            f"{folder}: metrics cannot be written ({error.strerror or error}); {first_step(error)} "
            "and run the same command again, it continues from the last checkpoint"
        ) from error


def _start_tensorboard(folder: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    threading.excepthook = _without_writer_threads(threading.excepthook)
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)


def _without_writer_threads(hook: Callable[..., Any]) -> Callable[..., Any]:
    """A hook that leaves out TensorBoard's thread on a full disk: the next write says it again."""

    def say(args: threading.ExceptHookArgs) -> None:
        writer = type(args.thread).__name__ == "_AsyncWriterThread"
        if not (writer and isinstance(args.exc_value, OSError)):
            hook(args)

    return say


def _start_wandb(folder: Path, settings: dict[str, Any]) -> Any:
    try:
        import wandb
    except ImportError:
        raise WholewordError(
            "--report-to wandb: Weights & Biases is not installed; pip install wandb"
        ) from None
    try:
        return wandb.init(project="wholeword", name=folder.name, dir=str(folder), config=settings)
    except wandb.Error as error:
        cause = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise WholewordError(
            f"--report-to wandb: it cannot be started ({cause}); run `wandb login`, or set "
            "WANDB_MODE=offline"
        ) from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics file; a torn last line is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def _cut(path: Path, step: int) -> None:
    """Keep the records up to a step; a run that begins keeps none."""
    if not path.exists():
        return
    kept = [r for r in read_metrics(path) if step and r["step"] <= step]
    write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
