"""ZeRO's section, fitted to the ranks and the machine that are there."""

from typing import Any

from train.engine.keys import AUTO

# The Trainer derives these from the hidden size; buckets of this size suit every model here.
_ZERO_AUTO = {
    "reduce_bucket_size": 50_000_000,
    "allgather_bucket_size": 50_000_000,
    "stage3_prefetch_bucket_size": 50_000_000,
    "stage3_param_persistence_threshold": 100_000,
}
# Why stage 0 runs as stage 1, which on one rank is the same mathematics.
_WITHOUT_ZERO = {
    "fp16": "without ZeRO, DeepSpeed divides the gradient by a loss scale that it never multiplied",
    "bf16": "DeepSpeed's bf16 optimizer without ZeRO drifts away from fp32",
}
_OFFLOADS = ("offload_optimizer", "offload_param")
_COPIES = ("contiguous_gradients", "overlap_comm")


def fit_zero(
    section: dict[str, Any], stage: int, precision: str, world_size: int, device: str
) -> tuple[int, list[str]]:
    """Change "zero_optimization" in place to what runs; returns the stage and what was changed.

    Args:
        section: the file's, which names `stage` or none.
        stage: 0 to 3.
        precision: "fp16", "bf16" or "fp32".
        world_size: ranks of the run.
        device: torch's name of what they compute on.
    """
    notes = []
    for key, value in _ZERO_AUTO.items():
        if section.get(key) == AUTO:
            section[key] = value
    if stage == 0 and precision != "fp32":
        stage = section["stage"] = 1
        notes.append(f"ZeRO 0 -> 1: {_WITHOUT_ZERO[precision]}")
    if device == "cpu":
        for name in _OFFLOADS:
            if offloads(section, name):
                notes.append(f"{name} -> off: everything is in CPU memory already")
            section.pop(name, None)
    if stage in (1, 2) and not any(offloads(section, name) for name in _OFFLOADS):
        if device == "cpu":
            _leave_out_copies(section, notes, "copies that only a GPU gains by")
        elif world_size == 1:
            # With BERT-base and 64 rows of 512 tokens on one H200, stage 2 took 110 ms of the
            # processor a step and 66 of the GPU; stage 1 without the copies takes 40 and 61.
            if stage == 2:
                stage = section["stage"] = 1
                notes.append("ZeRO 2 -> 1: one GPU has no gradients to divide")
            _leave_out_copies(section, notes, "one GPU sends none")
    return stage, notes


def offloads(section: dict[str, Any], name: str) -> bool:
    """Whether ZeRO's section keeps something in another memory; `name` says what."""
    where = section.get(name)
    return isinstance(where, dict) and where.get("device", "none") != "none"


def _leave_out_copies(section: dict[str, Any], notes: list[str], reason: str) -> None:
    """Turn off what copies gradients to send them, or for a GPU's memory and streams.

    The results are the same, bit for bit, and a small model is a sixth faster on a CPU.
    """
    if asked := [name for name in _COPIES if section.get(name) is True]:
        notes.append(f"{', '.join(asked)} -> off: {reason}")
    section.update({name: False for name in _COPIES if section.get(name, True) is True})
