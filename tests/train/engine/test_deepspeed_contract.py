"""What train/engine/ takes for granted of DeepSpeed, beyond what DeepSpeed documents.

When one of these fails, DeepSpeed has changed: the message says who relies on what, and so where to
look before its pin in setup.py is moved.
"""

import ast
import inspect
import re
from pathlib import Path

import deepspeed
import pytest
import torch
from deepspeed.accelerator import get_accelerator
from deepspeed.checkpoint import constants, ds_to_universal
from deepspeed.runtime import config as runtime_config
from deepspeed.runtime.engine import DeepSpeedEngine
from deepspeed.runtime.fp16 import loss_scaler
from deepspeed.runtime.zero.partition_parameters import Init
from deepspeed.runtime.zero.stage3 import DeepSpeedZeroOptimizer_Stage3
from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer

ROOT = Path(__file__).resolve().parents[3]
ZERO = (DeepSpeedZeroOptimizer, DeepSpeedZeroOptimizer_Stage3)


def holds(condition: object, file: str, what: str) -> None:
    assert condition, f"DeepSpeed {deepspeed.__version__} {what}; train/engine/{file} relies on it"


def source(thing: object) -> str:
    return inspect.getsource(inspect.unwrap(thing))


def parameters(function: object) -> set[str]:
    return set(inspect.signature(inspect.unwrap(function)).parameters)


def test_the_loop_cuts_steps_itself():
    file = "../pretrain.py"
    holds(
        hasattr(DeepSpeedEngine, "set_gradient_accumulation_boundary"),
        file,
        "has no set_gradient_accumulation_boundary any more",
    )
    holds(
        re.search(r"def backward\([^)]*scale_wrt_gas", source(DeepSpeedEngine)),
        file,
        "divides every loss by the accumulation: backward has no scale_wrt_gas any more",
    )


def test_an_applied_step_is_told_at_its_end_only():
    step = source(DeepSpeedEngine.step)
    holds(
        "self._step_applied = False" in step and "_step_applied" in source(DeepSpeedEngine),
        "health.py",
        "no longer clears _step_applied at every micro-batch (then it may be asked more often)",
    )
    holds(
        "_step_applied" in source(DeepSpeedEngine.was_step_applied),
        "health.py",
        "answers was_step_applied from something else than _step_applied",
    )


def test_steps_are_counted_with_those_skipped():
    take_step = source(DeepSpeedEngine._take_model_step)
    for line in ("self.skipped_steps += 1", "self.global_steps += 1"):
        holds(line in take_step, "optimizer.py", f"no longer counts by `{line}`")


def test_without_zero_fp32_gradients_are_clipped_by_a_replaceable_method():
    holds(
        "self.clip_fp32_gradients()" in source(DeepSpeedEngine._take_model_step),
        "optimizer.py: keep_gradient_norm",
        "no longer clips fp32 gradients by self.clip_fp32_gradients()",
    )
    holds(
        "_global_grad_norm" in source(DeepSpeedEngine.get_global_grad_norm),
        "optimizer.py: keep_gradient_norm",
        "keeps the gradient's norm elsewhere than in _global_grad_norm",
    )


def test_zero_looks_for_overflows_in_averaged_gradients_by_a_replaceable_method():
    file = "optimizer.py: find_overflow_at_once"
    body = source(DeepSpeedZeroOptimizer.has_overflow_partitioned_grads_serial)
    asked = source(DeepSpeedZeroOptimizer.has_overflow)
    for word in ("range(len(self.bit16_groups))", "self.averaged_gradients[i]", "is not None"):
        holds(word in body, file, f"has no {word} there any more")
    asks = "self.has_overflow_partitioned_grads_serial()" in asked
    holds(asks, file, "looks for overflows in another way")


def test_zero_restores_clipping_and_scaler_from_checkpoints():
    for optimizer in ZERO:
        text = source(optimizer)
        holds("self.clip_grad" in text, "optimizer.py: keeping_hyperparameters", "has no clip_grad")
        holds(
            "self.loss_scaler = " in text,
            "precision.py: let_scale_stay_at_minimum",
            f"keeps no loss_scaler in {optimizer.__name__}",
        )
        holds(hasattr(optimizer, "cur_scale"), "optimizer.py: engine_values", "has no cur_scale")


def test_the_scaler_raises_a_bare_exception_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr(loss_scaler.dist, "get_rank", lambda: 0)
    scaler = loss_scaler.DynamicLossScaler(1.0, 1000, 1.0, 1, False)
    with pytest.raises(Exception, match="already at minimum") as caught:
        scaler.update_scale(overflow=True)
    holds(
        caught.type is Exception,
        "precision.py: let_scale_stay_at_minimum",
        "raises a telling error now, which could be used instead",
    )
    scaler.raise_error_at_min_scale = False
    scaler.update_scale(overflow=True)
    holds(scaler.cur_scale == 1.0, "precision.py", "goes below the smallest scale")
    holds(scaler.dynamic, "precision.py", "no longer says which scaler is dynamic")


def test_fp16_on_a_cpu_is_a_question_to_the_accelerator():
    holds(
        "get_accelerator().is_fp16_supported()" in source(DeepSpeedEngine),
        "precision.py: allow_fp16_on_cpu",
        "asks for fp16 elsewhere than get_accelerator().is_fp16_supported()",
    )
    holds(callable(get_accelerator().is_fp16_supported), "precision.py", "has no is_fp16_supported")


def test_without_zero_fp16_scales_no_loss():
    """The day this fails, ZeRO 0 may run in fp16 again (engine/config.py: _WITHOUT_ZERO)."""
    backward = source(DeepSpeedEngine)
    scaled = re.search(
        r"if isinstance\(self\.optimizer, (\w+)\):\s+loss = .*scale_if_loss", backward
    )
    holds(scaled and scaled[1] == "ZeROOptimizer", "config.py", "scales losses without ZeRO now")


def test_files_are_written_by_a_replaceable_method():
    holds(
        "self.checkpoint_engine.save(" in source(DeepSpeedEngine),
        "checkpoint.py: _problems",
        "no longer writes through checkpoint_engine.save",
    )
    holds(
        {"tag", "save_latest"} <= parameters(DeepSpeedEngine.save_checkpoint),
        "checkpoint.py: Saver.save",
        "takes other arguments to save_checkpoint",
    )


def test_universal_checkpoints():
    holds(
        "load_universal_checkpoint" in source(DeepSpeedEngine),
        "universal.py: _universal",
        "no longer reads load_universal_checkpoint from its configuration",
    )
    wanted = "input_folder output_folder num_extract_workers num_merge_workers keep_temp_folder"
    tree = ast.parse(source(ds_to_universal))
    taken = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "args"
    }
    for name in [*wanted.split(), "strict", "inject_missing_state"]:
        holds(name in taken, "universal.py: _from_zero", f"converts without {name}")
    for name in ("PARAM", "PARAM_GROUPS", "DS_VERSION", "OPTIMIZER_STATE_DICT"):
        holds(hasattr(constants, name), "universal.py", f"has no constant {name}")
    name = source(DeepSpeedEngine._get_ckpt_name)
    holds("model_states.pt" in name, "universal.py", "calls the file of counters otherwise")


def test_a_configuration_is_a_dictionary_that_is_asked_for_keys():
    asked = set()

    class Asked(dict):
        def get(self, key, default=None):
            asked.add(key)
            return super().get(key, default)

    runtime_config.DeepSpeedConfig(Asked(train_micro_batch_size_per_gpu=1))
    holds(
        {"gradient_clipping", "zero_allow_untested_optimizer"} <= asked,
        "keys.py: check_keys",
        "no longer asks its dictionary for the keys that it knows",
    )
    holds(
        isinstance(runtime_config.DEEPSPEED_OPTIMIZERS, list)
        and "adamw" in runtime_config.DEEPSPEED_OPTIMIZERS,
        "config.py: _check_optimizer",
        "lists its optimizers otherwise",
    )
    holds(
        "amp" in runtime_config._REMOVED_TOP_LEVEL_CONFIG_KEYS,
        "keys.py: leave_out_removed",
        "lists removed sections otherwise",
    )


def test_the_shared_memory_operator_can_be_left_out():
    holds(
        "deepspeed_shm_comm" in deepspeed.ops.__compatible_ops__,
        "process_group.py",
        "asks elsewhere whether its shared-memory operator can be built",
    )


def test_partitioning_takes_a_whole_module():
    holds(
        {"module", "config_dict_or_path", "dtype"} <= parameters(Init.__init__),
        "partition.py",
        "partitions modules otherwise than by zero.Init(module=...)",
    )


def test_whole_weights_can_be_asked_for():
    from deepspeed.utils import safe_get_full_fp32_param

    holds(len(parameters(safe_get_full_fp32_param)) >= 1, "weights.py", "gathers weights otherwise")
    holds("ds_numel" in source(Init), "weights.py: parameter_count", "has no ds_numel any more")


def test_nobody_else_touches_deepspeed():
    """Whoever needs one of DeepSpeed's internals writes it in train/engine/, and a test here."""
    internals = re.compile(
        r"engine\._|\.checkpoint_engine|clip_fp32|skipped_steps|global_steps|was_step_applied"
        r"|cur_scale|loss_scaler|ds_numel|import deepspeed|from deepspeed"
    )
    for path in (ROOT / "train").rglob("*.py"):
        if path.parent.name != "engine":
            found = internals.findall(path.read_text(encoding="utf-8"))
            assert not found, f"{path.relative_to(ROOT)} touches DeepSpeed: {found}"


def test_torch_says_what_a_full_disk_is():
    """checkpoint.py: _WRITE_FAILED. torch.save raises RuntimeError, and its words are all."""
    with pytest.raises(RuntimeError) as caught:
        torch.save({"weights": torch.zeros(1 << 20)}, "/dev/full")
    from train.engine.checkpoint import _WRITE_FAILED

    assert _WRITE_FAILED in str(caught.value)
