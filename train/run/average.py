"""The mean of several models' weights, and steps between two models.

The mean of the last checkpoints of a run is often better than each (Izmailov et al., 2018,
"Averaging Weights Leads to Wider Optima and Better Generalization"); a model between the one that a
run started from and the one that it came to forgets less (Wortsman et al., 2022, "Robust
fine-tuning of zero-shot models").
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer, PreTrainedModel

from preprocess.errors import WholewordError
from train.engine.checkpoint import find_damage, read_progress
from train.engine.universal import read_weights
from train.model.presets import check_no_run
from train.model.vocabulary_check import check_folder, readable_errors
from train.run.saved_model import BEST, FINAL, write_model

Weights = dict[str, Tensor]


class AverageNote(BaseModel):
    """What a mean is made of, in its `wholeword.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: list[str]
    weights: list[float]
    """Of each, adding up to 1."""
    base: str | None
    """The model that was stepped from."""
    share: float
    """How far from it towards the mean."""


@dataclass(frozen=True)
class Averaged:
    """What was made."""

    folder: Path
    parameters: int
    new_in_base: list[str]
    """Weights that the base lacks, which are the mean's."""


def average(
    models: Sequence[str],
    weights: Sequence[float],
    output: Path,
    base: str | None = None,
    share: float = 1.0,
) -> Averaged:
    """Write the weighted mean of models, or a model between another one and that mean.

    Args:
        models: folders or hub ids, or checkpoints of runs (`RUN/checkpoints/step-N`).
        weights: of each, above 0; none for equal ones.
        output: the folder to write, which must not be there.
        base: the model to step from.
        share: how far to go from it towards the mean, from 0 to 1.

    Raises:
        WholewordError: a model cannot be read, or they differ in names or shapes of weights.
    """
    shares = _shares(models, weights)
    if base is not None and not 0 <= share <= 1:
        raise WholewordError(f"--share {share:g}: not from 0 to 1; write 0.5 for half of the way")
    if output.exists():
        raise WholewordError(f"{output}: is there already; choose another --output")
    for name in [*models, *filter(None, [base])]:
        check_no_run(name)
        check_folder(name, "name a model such as RUN/final, a checkpoint, or a hub id")
    folder = _model_folder(models[0])
    sums: Weights = {}
    for name, part in zip(models, shares, strict=True):
        found = _read_weights(name)
        if sums:
            _check_alike(found, sums, name, models[0])
        for (
            key,
            tensor,
        ) in found.items():  # in fp64, so that the order of models changes nothing seen
            sums[key] = sums.get(key, torch.zeros((), dtype=torch.float64)) + part * tensor.double()
    lacking = _step_from(base, share, sums) if base is not None else []
    mean = {key: tensor.float() for key, tensor in sums.items()}
    parameters = sum(tensor.numel() for tensor in mean.values())
    model = _empty(folder, models[0])
    note = AverageNote(models=list(models), weights=shares, base=base, share=share)
    again = "run the same command again"
    write_model(output, model, mean, _tokenizer_files(folder), note, again)
    return Averaged(output, parameters, lacking)


def _shares(models: Sequence[str], weights: Sequence[float]) -> list[float]:
    """Weights that add up to 1."""
    if not models:
        raise WholewordError("average: name a model at least, such as RUN/final")
    spelt = " ".join(f"{weight:g}" for weight in weights)
    if weights and len(weights) != len(models):
        raise WholewordError(
            f"--weights {spelt}: give a weight for each model, {len(models)} in all"
        )
    if not all(0 < weight < float("inf") for weight in weights):
        raise WholewordError(
            f"--weights {spelt}: must be numbers above 0; leave a model out instead"
        )
    values = list(weights) or [1.0] * len(models)
    return [value / sum(values) for value in values]


def _is_checkpoint(name: str) -> bool:
    return (Path(name) / "progress.json").is_file()


def _model_folder(name: str) -> str:
    """Where the configuration and the tokenizer of a model or of a checkpoint's run are."""
    if not _is_checkpoint(name):
        return name
    run = Path(name).resolve().parents[1]
    for model in (FINAL, BEST):
        if (run / model / "config.json").is_file():
            return str(run / model)
    raise WholewordError(
        f"{name}: its run has neither {FINAL}/ nor {BEST}/, whose configuration is needed; run the "
        "training command again to its end"
    )


def _read_weights(name: str) -> Weights:
    """Weights in fp32 by the names of the masked language model; tied ones have one."""
    if _is_checkpoint(name):
        return _read_checkpoint(Path(name))
    with readable_errors(name):
        model: Any = AutoModelForMaskedLM.from_pretrained(
            name, dtype=torch.float32, weights_only=True
        )
    return {key: parameter.detach() for key, parameter in model.named_parameters()}


def _read_checkpoint(folder: Path) -> Weights:
    """DeepSpeed's fp32 weights, gathered from the files of all ranks."""
    if damage := find_damage(folder):
        raise WholewordError(f"{folder}: cannot be used, {damage}; name another checkpoint")
    model = _empty(_model_folder(str(folder)), str(folder))
    shapes = {key: parameter.shape for key, parameter in model.named_parameters()}
    stage = read_progress(folder).stage
    with tempfile.TemporaryDirectory(prefix="wholeword-average-") as scratch:
        found = read_weights(folder, stage, Path(scratch))
    return {key: found[key].reshape(shape) for key, shape in shapes.items()}


def _check_alike(found: Weights, first: Weights, name: str, first_name: str) -> None:
    """Refuse models that are not of one shape."""
    for key in sorted(found.keys() | first.keys()):
        if key not in found or key not in first:
            owner = name if key in found else first_name
            raise WholewordError(f"{name}: {key} is in {owner} alone; average models of one kind")
        if found[key].shape != first[key].shape:
            raise WholewordError(
                f"{name}: {key} is {list(found[key].shape)}, in {first_name} "
                f"{list(first[key].shape)}; average models of one size"
            )


def _step_from(base: str, share: float, sums: Weights) -> list[str]:
    """Go from `base` towards `sums`, in place; returns what the base lacks, which stays."""
    with readable_errors(base):
        model, report = AutoModelForMaskedLM.from_pretrained(
            base, dtype=torch.float32, weights_only=True, output_loading_info=True
        )
    missing = set(report["missing_keys"])
    own = {key: p.detach() for key, p in model.named_parameters() if key not in missing}
    for key, tensor in own.items():
        there = sums.get(key)
        if there is None or there.shape[1:] != tensor.shape[1:] or len(there) < len(tensor):
            raise WholewordError(
                f"{base}: its {key} does not fit; --interpolate takes the model that the others "
                "were continued from"
            )
        # Entries that the vocabulary has got since are the mean's.
        there[: len(tensor)] = share * there[: len(tensor)] + (1 - share) * tensor.double()
    return sorted(sums.keys() - own.keys())


def _empty(folder: str, name: str) -> PreTrainedModel:
    """A model of the configuration, without weights."""
    with readable_errors(name), torch.device("meta"):
        model: PreTrainedModel = AutoModelForMaskedLM.from_config(
            AutoConfig.from_pretrained(folder)
        )
    return model


def _tokenizer_files(folder: str) -> Callable[[Path], None]:
    """Saves the tokenizer of a model into a folder, where it has one."""

    def save(into: Path) -> None:
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError, TypeError, AttributeError):
            return  # weights alone were asked for
        tokenizer.save_pretrained(into)

    return save
