"""Going on with other ranks or another ZeRO stage than a checkpoint was saved with.

ZeRO's files are cut for one number of ranks and one stage. `deepspeed.checkpoint.ds_to_universal`
joins them to a file a parameter and state ("universal checkpoint"), which every rank of another
layout cuts anew. Two things it leaves out are added here: what stages 1 and 2 expect but stage 3
does not write (and the other way round), and stage 0, whose state lies whole in one file.

A conversion is used once and then deleted, so an interrupted one is a leftover and no checkpoint.
"""

import argparse
import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from preprocess.errors import WholewordError
from train.engine.checkpoint import ASIDE, FULL_DISK, STATE, RunProgress, read_part, room_for
from train.engine.optimizer import keeping_hyperparameters, parameter_groups
from train.engine.precision import let_scale_stay_at_minimum
from train.engine.process_group import Ranks

_WHOLE = "mp_rank_00_model_states.pt"  # stages 0, 1 and 2 call the file of counters so
_CUT = "zero_pp_rank_0_mp_rank_00_model_states.pt"  # and stage 3 so
_MOMENTS = ("exp_avg", "exp_avg_sq")


def is_same_layout(was: RunProgress, now: RunProgress) -> bool:
    """Whether DeepSpeed loads the state as it lies; stage 0 holds all of it on every rank."""
    return was.stage == now.stage and (was.world_size == now.world_size or was.stage == 0)


def check(checkpoint: Path, was: RunProgress, now: RunProgress) -> None:
    """Refuse, before anything is loaded, a layout that the state cannot be brought to.

    Args:
        checkpoint: what the state lies in.
        was: its progress.
        now: the layout and the settings of the engine.
    """
    batch_warmup = now.settings["batch_warmup"]
    if was.precision != now.precision:
        cause = "states keep their precision"
    elif batch_warmup and was.world_size != now.world_size:
        cause = f"with --batch-warmup {batch_warmup} the first steps' rows depend on the ranks"
    elif is_same_layout(was, now):
        return
    elif read_part(checkpoint):
        cause = "each machine has only its own part of it (--node-local-output)"
    elif was.precision == "fp16" and was.stage == 0:
        cause = "ZeRO 0 kept fp16 states in a form of its own"
    elif was.settings["optimizer"].lower() not in ("adam", "adamw"):
        cause = "only AdamW's states can be converted"
    else:
        return
    raise WholewordError(
        f"{checkpoint}: was saved with {describe_layout(was)}, this run has "
        f"{describe_layout(now)}, and {cause}; continue with the old layout, or start "
        "another run from its weights (--model RUN/final --output-dir NEW)"
    )


def describe_layout(layout: RunProgress) -> str:
    """A layout for a person."""
    return f"ZeRO {layout.stage}, {layout.precision}, {layout.world_size} ranks"


def load(
    engine: Any,
    model: nn.Module,
    checkpoint: Path,
    side: Path,
    stages: tuple[int, int],
    ranks: Ranks,
) -> None:
    """Give `engine` the state of a whole checkpoint that was saved on another layout.

    Every rank calls this.

    Args:
        engine: DeepSpeed's, of any stage.
        model: what it trains.
        checkpoint: a whole one.
        side: the run's folder of checkpoints, which has room for one more while this runs.
        stages: ZeRO's stage when it was saved, and the engine's.
        ranks: the engine's.

    Raises:
        WholewordError: the converted state cannot be written.
    """
    if ranks.share(_is_untouched(checkpoint / STATE, stages[0]) if ranks.first else None):
        _take_counters(engine, checkpoint / STATE, stages[0])
        return
    aside = side / f"{ASIDE}universal"
    names = _optimizer_order(model)
    if ranks.first:
        remedy = "run the same command again"
        with room_for(
            f"{checkpoint}: its state cannot be converted in {aside}", remedy, *FULL_DISK
        ):
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            _convert(checkpoint / STATE, aside, names, *stages)
    ranks.wait()
    with keeping_hyperparameters(engine):
        if stages[1] == 0:
            _load_plain(engine, model, aside / STATE, names)
        else:
            _load_universal(engine, aside)
    ranks.wait()
    if ranks.first:
        shutil.rmtree(aside)


def read_weights(checkpoint: Path, stage: int, scratch: Path) -> dict[str, torch.Tensor]:
    """The weights of a whole checkpoint in fp32, those that stage 3 has cut as flat tensors.

    Args:
        checkpoint: the checkpoint.
        stage: ZeRO's stage when it was saved.
        scratch: an empty folder, with room for weights and moments.
    """
    from deepspeed.checkpoint.constants import PARAM

    if stage == 0:
        return {name: w.float() for name, w in _read(checkpoint / STATE / _WHOLE)["module"].items()}
    _from_zero(checkpoint / STATE, scratch)
    weights = {}
    for file in sorted((scratch / STATE / "zero").glob("*/fp32.pt")):
        value = _read(file)
        weights[file.parent.name] = value[PARAM] if isinstance(value, dict) else value
    return weights


def _is_untouched(state: Path, stage: int) -> bool:
    """Whether every step so far was skipped: then the weights are the first, without moments."""
    counters = _read(state / (_CUT if stage == 3 else _WHOLE))
    return bool(counters["global_steps"] == counters["skipped_steps"])


def _take_counters(engine: Any, state: Path, stage: int) -> None:
    """Give an engine with its first weights the steps and the scaler of a state with the same."""
    counters = _read(state / (_CUT if stage == 3 else _WHOLE))
    _set_counters(engine, counters)
    for file in sorted(state.glob("*zero_pp_rank_0_mp_rank_00_optim_states.pt")):
        scaler = _read(file)["optimizer_state_dict"].get("loss_scaler")
        if scaler is not None and hasattr(engine.optimizer, "loss_scaler"):
            engine.optimizer.loss_scaler = scaler
            let_scale_stay_at_minimum(engine)


def _set_counters(engine: Any, counters: dict[str, Any]) -> None:
    engine.global_steps = counters["global_steps"]
    engine.global_samples = counters["global_samples"]
    engine.skipped_steps = counters["skipped_steps"]


def _optimizer_order(model: nn.Module) -> list[str]:
    """The names of the parameters in the order in which optimizers number them."""
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    return [name_of[id(p)] for group in parameter_groups(model, 0.0) for p in group["params"]]


def _convert(state: Path, aside: Path, names: list[str], was: int, now: int) -> None:
    """Write `aside`/STATE, a universal checkpoint that an engine of stage `now` can load."""
    universal = aside / STATE
    if was == 0:
        _from_plain(state, universal, names)
    else:
        _from_zero(state, aside)
    source, wanted = _CUT if was == 3 else _WHOLE, _CUT if now == 3 else _WHOLE
    if wanted != source:
        shutil.copyfile(universal / source, universal / wanted)
    if was == 3 and now != 3:
        _add_for_stages_1_and_2(universal / "zero", names)
    elif was != 3 and now == 3:
        _add_for_stage_3(universal / "zero", names)


def _from_zero(state: Path, aside: Path) -> None:
    """Let DeepSpeed convert the files of stages 1 to 3."""
    from deepspeed.checkpoint.ds_to_universal import main

    source = "source"
    (aside / source).symlink_to(state.resolve(), target_is_directory=True)
    options = argparse.Namespace(
        input_folder=source,
        output_folder=STATE,
        num_extract_workers=1,  # it would fork this process, threads, network and all
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,
    )
    silence = io.StringIO()
    with (
        contextlib.chdir(aside),  # it takes paths for patterns: a run's own may have a + or a (
        contextlib.redirect_stdout(silence),
        contextlib.redirect_stderr(silence),
    ):
        main(options)


def _from_plain(state: Path, universal: Path, names: list[str]) -> None:
    """Write a universal checkpoint of stage 0's one file."""
    import deepspeed
    from deepspeed.checkpoint.constants import DS_VERSION, PARAM, PARAM_GROUPS

    whole = _read(state / _WHOLE)
    for index, name in enumerate(names):
        folder = universal / "zero" / name
        folder.mkdir(parents=True)
        values = whole["optimizer"]["state"][index]
        torch.save(values["step"], folder / "step.pt")
        torch.save({PARAM: whole["module"][name].float()}, folder / "fp32.pt")
        for key in _MOMENTS:
            torch.save({PARAM: values[key]}, folder / f"{key}.pt")
    common = {
        PARAM_GROUPS: whole["optimizer"][PARAM_GROUPS],
        DS_VERSION: deepspeed.__version__,
    }
    torch.save(common, universal / "zero" / "optimizer_state.pt")
    shutil.copyfile(state / _WHOLE, universal / _WHOLE)


def _add_for_stages_1_and_2(zero: Path, names: list[str]) -> None:
    """Add to a state of stage 3: the step beside every parameter, tensors by name, a version."""
    import deepspeed
    from deepspeed.checkpoint.constants import DS_VERSION, OPTIMIZER_STATE_DICT, PARAM

    common = _read(zero / "optimizer_state.pt")
    step = common[OPTIMIZER_STATE_DICT]["state"][0]["step"]
    for name in names:
        torch.save(step, zero / name / "step.pt")
        for key in ("fp32", *_MOMENTS):
            file = zero / name / f"{key}.pt"
            torch.save({PARAM: _read(file)}, file)
    torch.save(common | {DS_VERSION: deepspeed.__version__}, zero / "optimizer_state.pt")


def _add_for_stage_3(zero: Path, names: list[str]) -> None:
    """Add to a state of another stage: the step among what all parameters share."""
    from deepspeed.checkpoint.constants import OPTIMIZER_STATE_DICT, PARAM_GROUPS

    common = _read(zero / "optimizer_state.pt")
    step = _read(zero / names[0] / "step.pt")
    shared = {"state": {0: {"step": step}}, PARAM_GROUPS: common[PARAM_GROUPS]}
    torch.save(common | {OPTIMIZER_STATE_DICT: shared}, zero / "optimizer_state.pt")


def _load_universal(engine: Any, folder: Path) -> None:
    """Load a universal checkpoint, and mend what DeepSpeed's stage 3 makes of several groups."""
    with _universal(engine), contextlib.chdir(folder):  # paths are patterns here as well
        engine.load_checkpoint(os.curdir, tag=STATE)
    _separate_steps(engine.optimizer.optimizer)


def _separate_steps(optimizer: torch.optim.Optimizer) -> None:
    """Give each parameter a count of the steps done of its own, where its update looks for it.

    DeepSpeed gives all groups one tensor on the CPU, which each group's update would count up. (It
    gives them the first group's hyperparameters, too; whoever loads sets them anew.) Torch's fused
    and capturable updates want it beside the parameter, the others on the CPU.
    """
    beside = optimizer.defaults.get("fused") or optimizer.defaults.get("capturable")
    for parameter, values in optimizer.state.items():
        if torch.is_tensor(values.get("step")):
            device = parameter.device if beside else "cpu"
            values["step"] = values["step"].clone().to(device)


@contextlib.contextmanager
def _universal(engine: Any) -> Iterator[None]:
    """What {"checkpoint": {"load_universal": true}} does, for one load."""
    engine._config.load_universal_checkpoint = True
    try:
        yield
    finally:
        engine._config.load_universal_checkpoint = False


def _load_plain(engine: Any, model: nn.Module, universal: Path, names: list[str]) -> None:
    """Give a state to an engine without ZeRO, which DeepSpeed does not do."""
    from deepspeed.checkpoint.constants import PARAM

    parameters = dict(model.named_parameters())
    for name in names:
        parameter, folder = parameters[name], universal / "zero" / name
        whole = {key: _read(folder / f"{key}.pt")[PARAM] for key in ("fp32", *_MOMENTS)}
        parameter.data.copy_(whole["fp32"].view_as(parameter))
        moments = {key: whole[key].view_as(parameter).to(parameter.device) for key in _MOMENTS}
        engine.optimizer.state[parameter] = moments | {"step": _read(folder / "step.pt")}
    _separate_steps(engine.optimizer)
    _set_counters(engine, _read(universal / _WHOLE))


def _read(file: Path) -> Any:
    """Open a file of a checkpoint that was checked against its manifest."""
    return torch.load(os.fspath(file), map_location="cpu", weights_only=False)
