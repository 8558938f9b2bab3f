"""Notes every place that waits for the GPU while training steps run."""

import contextlib
import traceback
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch

FIRST, LAST = 3, 9  # steps; in those before, kernels are loaded and memory is allocated
_TORCHS_WARNING = "called a synchronizing CUDA operation"


@contextlib.contextmanager
def recording(pretrain: ModuleType) -> Iterator[list[list[str]]]:
    """Let the training loop note who waits in steps `FIRST` to `LAST - 1`.

    Yields a list that fills with call stacks, each a list of "file:function" from the outside in.
    """
    found: list[list[str]] = []
    train_step, show = pretrain.train_step, warnings.showwarning

    def note(message: Any, *arguments: Any, **keywords: Any) -> None:
        if _TORCHS_WARNING in str(message):
            stack = traceback.extract_stack()[:-1]
            found.append([f"{frame.filename}:{frame.name}" for frame in stack])
        else:
            show(message, *arguments, **keywords)

    def watched(run: Any, step: Any, totals: Any) -> None:
        if step.number in (FIRST, LAST):
            _watch(step.number == FIRST)
        train_step(run, step, totals)

    pretrain.train_step, warnings.showwarning = watched, note
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("always", message=f".*{_TORCHS_WARNING}")
            warnings.showwarning = note  # which the line before has put back
            yield found
    finally:
        pretrain.train_step, warnings.showwarning = train_step, show
        _watch(False)


def _watch(on: bool) -> None:
    if torch.cuda.is_available():
        torch.cuda.set_sync_debug_mode("warn" if on else "default")
