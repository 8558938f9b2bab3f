"""Keys of a DeepSpeed file that the training loop here does not leave to DeepSpeed.

What would take over the loop, its loader or its checkpoints is refused. What DeepSpeed would never
look at here, or would do beside what is done already, is left out and named. No key is dropped in
silence.
"""

from collections.abc import Callable, Iterator
from typing import Any

from train.engine.keys import AUTO

_METRICS = "metrics.jsonl has the metrics here, and --report-to sends them on"
_NOTHING = "nothing here depends on it"


def _is_on(section: Any) -> bool:
    """Whether a section is on: it says so, or holds anything without saying so."""
    if not isinstance(section, dict):
        return section not in (None, False, AUTO, 0)
    return bool(section) and section.get("enabled", True) not in (None, False, AUTO)


def _is_enabled(section: Any) -> bool:
    """Whether a section that is off by itself says that it is on."""
    return isinstance(section, dict) and section.get("enabled") not in (None, False, AUTO)


def _is_several(value: Any) -> bool:
    return value not in (None, False, AUTO, 0, 1)


def _is_true(value: Any) -> bool:
    return value not in (None, False, AUTO, 0)


# Path, when it is refused, why, and what to do.
_REFUSED: tuple[tuple[str, Callable[[Any], bool], str, str], ...] = (
    ("data_efficiency", _is_on, "rows are ordered by the loader here", "remove that section"),
    ("pipeline", _is_on, "models are not cut into pipeline stages here", "remove that section"),
    (
        "torch_autocast",
        _is_on,
        "the precision is set by fp16, bf16 or --precision here",
        "remove that section",
    ),
    (
        "zero_optimization.zenflow",
        _is_on,
        "gradients are accumulated exactly here",
        "remove that section",
    ),
    ("autotuning", _is_on, "batch sizes are chosen by hand here", "remove that section"),
    ("hybrid_engine", _is_enabled, "nothing is generated here", "remove that section"),
    ("weight_quantization", _is_on, "weights are not quantized here", "remove that section"),
    ("expert_parallel", _is_enabled, "no model here has experts", "remove that section"),
    (
        "tensor_parallel.autotp_size",
        _is_several,
        "every rank computes whole layers here",
        "use ZeRO 3 for models that are too large",
    ),
    (
        "sequence_parallel_size",
        _is_several,
        "every rank computes whole rows here",
        "remove that line",
    ),
    (
        "gradient_allreduce_op",
        lambda value: isinstance(value, str) and value.lower() == "sum",
        "the loss is made for gradients that are averaged over ranks",
        'write "mean"',
    ),
    (
        "managed_gradient_accumulation",
        lambda value: value is False,
        "the loop here needs it",
        "remove that line",
    ),
    (
        "checkpoint.use_node_local_storage",
        _is_true,
        "checkpoints are written to one folder that all ranks see",
        "remove that line",
    ),
    (
        "checkpoint.load_universal",
        _is_true,
        "a run finds and converts its checkpoint itself",
        "remove that line",
    ),
    ("checkpoint.writer", _is_on, "checkpoints have a writer of their own", "remove that line"),
    ("datastates_ckpt", _is_on, "checkpoints have a writer of their own", "remove that section"),
    ("compile.deepcompile", _is_true, "--torch-compile compiles here", "remove that line"),
)

# Path, when it means something, and why it is left out.
_LEFT_OUT: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("activation_checkpointing", bool, "--gradient-checkpointing recomputes activations here"),
    ("tensorboard", _is_enabled, _METRICS),
    ("wandb", _is_enabled, _METRICS),
    ("csv_monitor", _is_enabled, _METRICS),
    ("comet", _is_enabled, _METRICS),
    ("dataloader_drop_last", _is_true, "the loader here leaves no row out"),
    ("data_parallel_size", _is_true, "every rank takes rows of its own"),
    ("sequence_parallel_size", _is_true, _NOTHING),
    ("tensor_parallel", bool, _NOTHING),
    ("disable_allgather", _is_true, "DeepSpeed does not look at it any more"),
    ("vocabulary_size", _is_true, "the shards' tokenizer has it"),
    ("use_data_before_expert_parallelism", _is_true, _NOTHING),
    ("seq_parallel_communication_data_type", _is_true, _NOTHING),
)


def refused_keys(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What of a file cannot be used: the cause and the remedy, in words."""
    for path, is_meant, reason, remedy in _REFUSED:
        if is_meant(_value(config, path)):
            yield f'"{path}" cannot be used: {reason}', remedy


def leave_out_unused(config: dict[str, Any]) -> list[str]:
    """Drop what would have no effect here from a file; returns a sentence for each.

    What is off or empty means nothing: it is dropped without a word.
    """
    notes = []
    for name, is_meant, reason in _LEFT_OUT:
        if name in config and is_meant(config.pop(name)):
            notes.append(f'"{name}" -> left out: {reason}')
    return notes


def _value(config: dict[str, Any], path: str) -> Any:
    """The value at a path, or None where there is none."""
    here: Any = config
    for name in path.split("."):
        here = here.get(name) if isinstance(here, dict) else None
    return here
