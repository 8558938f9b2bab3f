"""Half precision: where fp16 falls back to another, and what it needs of DeepSpeed.

fp16 is the default on GPUs. So that it is tested where there is none, `WHOLEWORD_CPU_FP16=1` keeps
it on a CPU: DeepSpeed's fp16 engine, its loss scaler and its overflow logic run there as they are,
and torch computes half precision, slowly.
"""

import os
from typing import Any

import torch


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware; others emulate it, slower than fp32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def fall_back(bf16: bool, cpu_fp16: bool) -> tuple[str, str]:
    """What a CPU trains in where fp16 is asked for, and a note that says so.

    Args:
        bf16: whether it multiplies bf16 in hardware.
        cpu_fp16: whether fp16 is wanted all the same (`WHOLEWORD_CPU_FP16=1`).
    """
    if cpu_fp16:
        return "fp16", "fp16 stays on a CPU, where it is slow: WHOLEWORD_CPU_FP16=1"
    if bf16:
        return "bf16", "fp16 -> bf16: this CPU computes bf16"
    return "fp32", "fp16 -> fp32: this CPU computes neither fp16 nor bf16"


def allow_fp16_on_cpu() -> bool:
    """Tell DeepSpeed's CPU accelerator that it can, if `WHOLEWORD_CPU_FP16=1`; returns whether."""
    if os.environ.get("WHOLEWORD_CPU_FP16") != "1":
        return False
    from deepspeed.accelerator import get_accelerator

    get_accelerator().is_fp16_supported = lambda: True
    return True


def can_scale_fall(engine: Any) -> bool:
    """Whether another overflow would lower the loss scale; a fixed one never falls."""
    scaler = getattr(getattr(engine, "optimizer", None), "loss_scaler", None)
    return scaler is None or (scaler.dynamic and scaler.cur_scale > scaler.min_scale)


def let_scale_stay_at_minimum(engine: Any) -> None:
    """Keep the dynamic loss scaler from ending a run with an exception of its own.

    At its smallest scale it raises a bare `Exception` at the next overflow. Here the step is
    skipped, and `HealthMonitor` ends the run on all ranks with one line. Where there is no dynamic
    scaler, nothing is done. A checkpoint brings its own scaler: call this after loading, too.
    """
    scaler = getattr(engine.optimizer, "loss_scaler", None)
    if scaler is not None and scaler.dynamic:
        scaler.raise_error_at_min_scale = False
