"""The "scheduler" section of a DeepSpeed file in terms of the schedules here.

The loop sets the learning rate itself (`schedules`). So a parameter of DeepSpeed's schedulers has
to say what happens here anyway: each other value is refused. Where a parameter is absent and
DeepSpeed would do something else than is done here, that is a note.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

from preprocess.errors import WholewordError
from train.engine.keys import AUTO

KINDS = {"WarmupLR": "constant", "WarmupDecayLR": "linear", "WarmupCosineLR": "cosine"}
"""DeepSpeed's schedulers, and the schedule here that each of them is."""
_COSINE_FLOOR = 0.0001  # DeepSpeed's default share of the rate at the end

# Values that say what happens here, and what that is.
_MEANT = {
    "warmup_min_lr": ((0,), "warm-up begins at 0 here", "write 0"),
    "warmup_min_ratio": ((0,), "warm-up begins at 0 here", "write 0"),
    "warmup_type": (("linear",), "warm-up is linear here", 'write "linear"'),
    "cos_min_ratio": ((0, _COSINE_FLOOR), "the cosine falls to 0 here", "write 0"),
    "last_batch_iteration": ((-1,), "a run continues from its checkpoint", "remove that line"),
}

Error = Callable[[str, str], WholewordError]


def check_scheduler(
    kind: str, params: dict[str, Any], rate: float, total_steps: int, error: Error
) -> list[str]:
    """Compare a scheduler's parameters, but for warmup_num_steps, with what happens here.

    Args:
        kind: one of `KINDS`.
        params: of the file.
        rate: the highest learning rate.
        total_steps: of --max-steps; 0 where the number of epochs decides.
        error: makes an error of a cause and a remedy.

    Returns:
        A sentence for each thing that is not as DeepSpeed would do it.

    Raises:
        WholewordError: a parameter is unknown, or says something else.
    """
    defaults = _defaults(kind)
    for name, value in params.items():
        path = f'"scheduler.params.{name}"'
        if name not in defaults:
            raise error(f"{path}: {kind} has no such parameter", "remove that line")
        if value is None or value == AUTO:
            continue
        if name in _MEANT:
            meant, why, remedy = _MEANT[name]
            if isinstance(value, bool) or value not in meant:
                raise error(f"{path} is {value!r}, but {why}", remedy)
        if name == "warmup_max_lr" and not _equal(value, rate):
            raise error(
                f"{path} is {value!r}, the learning rate is {rate:g}",
                'make them equal, or write "auto"',
            )
        if name == "total_num_steps" and value != total_steps:
            raise error(f"{path} is {value!r}, {_steps_in_words(total_steps)}", 'write "auto"')
    return list(_notes(params, defaults, rate))


def _defaults(kind: str) -> dict[str, Any]:
    """The parameters that DeepSpeed's scheduler has, and their values where they are absent."""
    from deepspeed.runtime import lr_schedules

    parameters = inspect.signature(getattr(lr_schedules, kind)).parameters
    return {name: p.default for name, p in parameters.items() if name != "optimizer"}


def _equal(value: Any, rate: float) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isclose(value, rate, rel_tol=1e-9)


def _steps_in_words(total_steps: int) -> str:
    if total_steps:
        return f"the command line says --max-steps {total_steps}"
    return "the steps of this run follow from --num-train-epochs"


def _notes(params: dict[str, Any], defaults: dict[str, Any], rate: float) -> list[str]:
    """What of DeepSpeed's defaults is done otherwise here."""
    notes = []
    warms_up = params.get("warmup_num_steps") != 0
    if warms_up and params.get("warmup_type") in (None, AUTO):
        notes.append('scheduler: warmup_type "log" (DeepSpeed\'s default) -> "linear"')
    if "warmup_num_steps" not in params:
        steps = defaults["warmup_num_steps"]
        notes.append(f"scheduler: {steps} warm-up steps (DeepSpeed's default) -> --warmup-ratio")
    highest = defaults.get("warmup_max_lr")
    if highest is not None and "warmup_max_lr" not in params and not _equal(highest, rate):
        notes.append(f"scheduler: warmup_max_lr {highest:g} (DeepSpeed's default) -> {rate:g}")
    if params.get("cos_min_ratio") == _COSINE_FLOOR:
        notes.append(f"scheduler: cos_min_ratio {_COSINE_FLOOR} -> 0")
    return notes
