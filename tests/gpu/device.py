"""Where the tests of this folder run: on a GPU, or for a try on the CPU.

`WHOLEWORD_GPU_DRY_RUN=1` runs all of them on a CPU at the smallest size. That says nothing of a
GPU: it finds mistakes in the tests themselves where there is none.
"""

import os

import torch

DRY_RUN = os.environ.get("WHOLEWORD_GPU_DRY_RUN") == "1"
if DRY_RUN:
    os.environ |= {"DS_ACCELERATOR": "cpu", "WHOLEWORD_CPU_FP16": "1"}
DEVICE = torch.device("cpu" if DRY_RUN else "cuda")
"""Of every tensor here."""


def why_skipped() -> str | None:
    """Why no test here can run; None where they can."""
    return None if DRY_RUN or torch.cuda.is_available() else "no GPU here"


def why_no_packs(dtype: torch.dtype) -> str | None:
    """Why this GPU has no attention of variable length for a precision; None where it has."""
    from train.model.attention import gpu_capability, why_no_kernel

    return why_no_kernel(DEVICE.type, dtype, gpu_capability(DEVICE), 8)
