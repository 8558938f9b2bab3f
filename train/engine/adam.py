"""Torch's AdamW and DeepSpeed's: which parameters of a file each of them knows."""

import inspect
from collections.abc import Callable
from typing import Any

import torch

from preprocess.errors import WholewordError
from train.engine.keys import AUTO

# What DeepSpeed takes out before it makes the optimizer.
_TAKEN_OUT = {"torch_adam", "adam_w_mode"}
_REMEDIES = {
    "max_grad_norm": 'write "gradient_clipping", outside "optimizer", instead',
    "bias_correction": "remove that line, for torch always corrects the bias",
}


def check_torch_adam(
    params: dict[str, Any], compiles: bool, error: Callable[[str, str], WholewordError]
) -> None:
    """Refuse parameters that torch's AdamW does not have; drop one that says what it does anyway.

    Args:
        params: of the file's optimizer.
        compiles: whether DeepSpeed's own could be asked for.
        error: makes an error of a cause and a remedy.

    Raises:
        WholewordError: a parameter is unknown.
    """
    if params.get("bias_correction") in (True, AUTO):
        del params["bias_correction"]
    known = _TAKEN_OUT.union(inspect.signature(torch.optim.AdamW).parameters)
    for key in sorted(params.keys() - known):
        remedy = _REMEDIES.get(key, "remove that line")
        if compiles and key != "max_grad_norm":
            remedy += ', or write "torch_adam": false for DeepSpeed\'s, which has to be compiled'
        raise error(f'"optimizer.params.{key}" is no parameter of torch\'s AdamW', remedy)
