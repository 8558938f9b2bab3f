"""Misspelt keys of a DeepSpeed configuration."""

import json
import subprocess
from types import SimpleNamespace

import pytest
import torch

from preprocess.errors import WholewordError
from tests.train.engine.test_config import CPU, TRAINER_FILE
from train.engine import start
from train.engine.config import ROOT, make_engine_plan, read_config
from train.engine.keys import check_keys, readable_builds
from train.options import parse

# From DeepSpeed's documentation and from files that people give to the Trainer.
OTHER_SECTIONS = {
    "_comment": "what this file is for",
    "steps_per_print": 100,
    "wall_clock_breakdown": False,
    "zero_allow_untested_optimizer": True,
    "activation_checkpointing": {"partition_activations": False},
    "flops_profiler": {"enabled": False},
    "aio": {"block_size": 1048576},
    "tensorboard": {"enabled": False},
    "csv_monitor": {"enabled": False},
    "comms_logger": {"enabled": False},
    "communication_data_type": "fp32",
    "prescale_gradients": False,
    "data_types": {"grad_accum_dtype": "fp32"},
    "checkpoint": {"use_node_local_storage": False},
    "elasticity": {"enabled": False},
    "amp": {"enabled": "auto", "opt_level": "auto"},
    "autotuning": {"enabled": False},
    "memory_breakdown": False,
    "dump_state": False,
    "sparse_gradients": False,
    "gradient_predivide_factor": 1.0,
    "compile": {"deepcompile": False},
    "sequence_parallel_size": 1,
    "bfloat16": {"enabled": "auto"},
}


def check(config):
    plan = make_engine_plan(config, parse([]), 1, CPU)
    check_keys(config, plan.config, "mine.json")


@pytest.mark.parametrize("file", sorted((ROOT / "ds_configs").glob("*.json")), ids=lambda f: f.name)
def test_our_files_have_known_keys(file):
    check(read_config(str(file)))


@pytest.mark.parametrize("key", OTHER_SECTIONS)
def test_keys_that_people_use_are_known(key):
    check({key: OTHER_SECTIONS[key]})


def test_what_deepspeed_has_removed_is_refused_where_it_is_on():
    with pytest.raises(WholewordError, match=r"^mine\.json: DeepSpeed refuses it \(.*removed"):
        check({"amp": {"enabled": True}})


def test_a_file_for_the_trainer_has_known_keys():
    check(TRAINER_FILE)


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("zero_optimisation", 'write "zero_optimization"'),
        ("zero", "remove it"),
        ("optimiser", 'write "optimizer"'),
        ("gradient_clip", 'write "gradient_clipping"'),
        ("train_batch_sise", 'write "train_batch_size"'),
        ("nonsense", "remove it"),
    ],
)
def test_a_misspelt_key_is_named_with_the_nearest(key, near):
    with pytest.raises(WholewordError) as caught:
        check({key: {}})
    assert str(caught.value) == f'mine.json: DeepSpeed knows no key "{key}" here; {near}'


@pytest.mark.parametrize(
    ("section", "key", "near"),
    [
        ("optimizer", "parms", 'write "params"'),
        ("scheduler", "param", 'write "params"'),
        ("data_types", "grad_dtype", "grad_accum_dtype"),
    ],
)
def test_a_misspelt_key_within_a_section_that_deepspeed_does_not_check(section, key, near):
    config = {section: {"type": "AdamW" if section == "optimizer" else "WarmupLR", key: {}}}
    if section == "data_types":
        config = {section: {key: "fp32"}}
    with pytest.raises(WholewordError, match=rf'knows no key "{section}\.{key}" here; .*{near}'):
        check(config)


def build(error):
    """Raise as a builder of DeepSpeed's does, and as what it calls does."""
    from deepspeed.ops.op_builder.builder import OpBuilder

    class Broken(OpBuilder):
        def absolute_name(self):
            return "broken"

        def sources(self):
            raise error

    with readable_builds("mine.json"):
        Broken("cpu_adam").sources()


def build_errors():
    from deepspeed.ops.op_builder.builder import CUDAMismatchException, MissingCUDAException

    compilers = "Error building extension 'cpu_adam': [1/3] c++ -MMD\n x.cpp:1: fatal error: no x.h"
    return [
        (RuntimeError(compilers), "fatal error: no x.h"),
        (
            RuntimeError("Error building x: c++ -o\nsh: c++: not found\nninja: stopped"),
            "sh: c++: not",
        ),
        (RuntimeError("Unable to JIT load the cpu_adam op"), "Unable to JIT load"),
        (FileNotFoundError(2, "No such file or directory", "c++"), "No such file or directory"),
        (subprocess.CalledProcessError(1, ["which", "c++"]), "returned non-zero exit status 1"),
        (MissingCUDAException("CUDA_HOME does not exist"), "CUDA_HOME does not exist"),
        (CUDAMismatchException("12.1 against 13.0"), "12.1 against 13.0"),
        (ImportError(), "ImportError"),
    ]


@pytest.mark.parametrize("number", range(8))
def test_an_operation_that_cannot_be_built_is_named_in_one_line(number):
    error, cause = build_errors()[number]
    with pytest.raises(WholewordError) as caught:
        build(error)
    line = str(caught.value)
    assert line.startswith('mine.json: DeepSpeed cannot build its operation "cpu_adam" (')
    assert cause in line and "\n" not in line
    assert line.endswith('install a C++ compiler and ninja, or remove "offload_optimizer"')


def test_other_errors_are_not_taken_for_builds():
    with pytest.raises(RuntimeError, match="out of memory"), readable_builds("mine.json"):
        raise RuntimeError("CUDA out of memory")


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"zero_optimization": {"stage": 2, "stagee": 2}}, "zero_optimization.stagee"),
        ({"zero_optimization": {"overlap_comm": "perhaps"}}, "zero_optimization.overlap_comm"),
        ({"fp16": {"enabled": False}, "bf16": {"enabled": True, "x": 1}}, "bf16.x"),
    ],
    ids=json.dumps,
)
def test_an_inner_key_is_named_with_its_section(config, path):
    with pytest.raises(WholewordError, match=rf'^mine\.json: "{path}": .+; compare ds_configs/'):
        check(config)


def test_an_engine_whose_operation_cannot_be_built_is_one_line(monkeypatch):
    import deepspeed
    from deepspeed.ops.op_builder.builder import OpBuilder

    class Broken(OpBuilder):
        def absolute_name(self):
            return "broken"

        def sources(self):
            raise RuntimeError("Unable to JIT load the cpu_adam op")

    monkeypatch.setattr(deepspeed, "initialize", lambda **_: Broken("cpu_adam").sources())
    plan = SimpleNamespace(weight_decay=0.0, config={}, learning_rate=1.0)
    with pytest.raises(WholewordError, match=r'cannot build its operation "cpu_adam"'):
        start.start_engine(torch.nn.Linear(2, 2), plan, parse([]))
