"""Resolving DeepSpeed configurations, pure: no DeepSpeed is started."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.errors import WholewordError
from train.engine.config import Hardware, make_engine_plan, read_config
from train.options import parse

CPU = Hardware("cpu", bf16=True)
OLD_CPU = Hardware("cpu", bf16=False)
GPU = Hardware("cuda", bf16=True)
CONFIGS = sorted((Path(__file__).parents[3] / "ds_configs").glob("*.json"))


def plan(config, *arguments, world_size=2, hardware=CPU):
    return make_engine_plan(config, parse(list(arguments)), world_size, hardware)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("hardware", [CPU, GPU], ids=["cpu", "gpu"])
def test_every_shipped_file_resolves_and_deepspeed_takes_it(path, hardware):
    from deepspeed.runtime.config import DeepSpeedConfig

    made = plan(read_config(str(path)), "--learning-rate", "0.003", hardware=hardware, world_size=1)
    assert '"auto"' not in json.dumps(made.config)
    assert made.config["optimizer"]["params"]["lr"] == 0.003
    assert DeepSpeedConfig(made.config).train_batch_size == 8
    offloads = "offload_optimizer" in made.config["zero_optimization"]
    assert offloads == ("offload" in path.stem and hardware is GPU)


def test_precision_falls_back_on_a_cpu_and_says_so():
    config = {"fp16": {"enabled": True}}
    assert plan(config, hardware=GPU).precision == "fp16"
    assert plan(config, hardware=CPU).precision == "bf16"
    made = plan(config, hardware=OLD_CPU)
    assert made.precision == "fp32"
    assert "fp16 -> fp32: this CPU computes neither fp16 nor bf16" in made.notes
    assert made.config["fp16"] == {"enabled": False}


def test_precision_of_the_command_line():
    config = {"fp16": {"enabled": "auto"}, "bf16": {"enabled": "auto"}}
    assert plan(config, hardware=GPU).precision == "fp16"
    assert plan(config, "--precision", "bf16", hardware=GPU).config["bf16"]["enabled"] is True
    assert plan(config, "--precision", "fp32").precision == "fp32"
    assert plan({"fp16": {"enabled": False}, "bf16": {"enabled": False}}).precision == "fp32"
    assert plan({"bfloat16": {"enabled": True}}).precision == "bf16"


@pytest.mark.parametrize("stage", [1, 2])
def test_copies_for_gpus_are_left_out_on_a_cpu(stage):
    copies = {"contiguous_gradients": True, "overlap_comm": True}
    made = plan({"zero_optimization": {"stage": stage} | copies})
    assert made.config["zero_optimization"] == {"stage": stage} | dict.fromkeys(copies, False)
    wanted = "contiguous_gradients, overlap_comm -> off: copies that only a GPU gains by"
    assert wanted in made.notes
    made = plan({"zero_optimization": {"stage": stage}})  # DeepSpeed's default is true
    assert made.config["zero_optimization"]["contiguous_gradients"] is False
    assert not any("contiguous" in note for note in made.notes)
    made = plan({"zero_optimization": {"stage": stage} | copies}, hardware=GPU, world_size=2)
    assert made.config["zero_optimization"] == {"stage": stage} | copies
    assert made.stage == stage


@pytest.mark.parametrize("stage", [1, 2])
def test_one_gpu_divides_and_copies_no_gradients(stage):
    copies = {"contiguous_gradients": True, "overlap_comm": True}
    made = plan({"zero_optimization": {"stage": stage} | copies}, hardware=GPU, world_size=1)
    assert made.config["zero_optimization"] == {"stage": 1} | dict.fromkeys(copies, False)
    assert made.stage == 1
    assert ("ZeRO 2 -> 1: one GPU has no gradients to divide" in made.notes) == (stage == 2)
    assert "contiguous_gradients, overlap_comm -> off: one GPU sends none" in made.notes


@pytest.mark.parametrize("name", ["offload_optimizer", "offload_param"])
def test_one_gpu_that_offloads_keeps_its_stage(name):
    section = {"stage": 2, "contiguous_gradients": True, name: {"device": "cpu"}}
    made = plan({"zero_optimization": section}, hardware=GPU, world_size=1)
    assert made.config["zero_optimization"] == section
    assert made.stage == 2


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_without_zero_becomes_stage_1(precision):
    config = {"zero_optimization": {"stage": 0}}
    made = plan(config, "--precision", precision, hardware=GPU)
    assert made.stage == made.config["zero_optimization"]["stage"] == 1
    assert any(note.startswith("ZeRO 0 -> 1") for note in made.notes)
    assert plan({}, "--precision", "fp32").stage == 0


def test_fp16_stays_on_a_cpu_where_a_test_wants_it():
    made = plan({"fp16": {"enabled": "auto"}}, hardware=Hardware("cpu", True, cpu_fp16=True))
    assert made.precision == "fp16"
    assert any("WHOLEWORD_CPU_FP16=1" in note for note in made.notes)


def test_gradients_are_summed_and_sent_in_fp32_unless_the_file_says_otherwise():
    made = plan({}, "--precision", "bf16").config
    assert made["data_types"]["grad_accum_dtype"] == made["communication_data_type"] == "fp32"
    own = {"data_types": {"grad_accum_dtype": "bf16"}, "communication_data_type": "bf16"}
    made = plan(own, "--precision", "bf16").config
    assert made["data_types"]["grad_accum_dtype"] == made["communication_data_type"] == "bf16"
    made = plan({"data_types": {"grad_accum_dtype": "auto"}}, "--precision", "fp16", hardware=GPU)
    assert made.config["data_types"]["grad_accum_dtype"] == "fp32"
    assert "communication_data_type" not in plan({}, "--precision", "fp32").config


def test_offload_is_off_on_a_cpu():
    config = {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}
    made = plan(config)
    assert "offload_optimizer" not in made.config["zero_optimization"]
    assert any(note.startswith("offload_optimizer -> off") for note in made.notes)
    assert "offload_optimizer" in plan(config, hardware=GPU).config["zero_optimization"]


def test_global_batch_size_derives_the_accumulation():
    arguments = ("--per-device-train-batch-size", "4", "--global-batch-size", "32")
    for world_size, accumulation in ((1, 8), (2, 4), (8, 1)):
        made = plan({}, *arguments, world_size=world_size)
        assert made.accumulation == accumulation
        assert made.config["train_batch_size"] == 32
    assert plan({"train_batch_size": 64}, world_size=2).accumulation == 4


TRAINER_FILE = {
    "fp16": {"enabled": "auto", "loss_scale": 0},
    "bf16": {"enabled": "auto"},
    "optimizer": {
        "type": "AdamW",
        "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"},
    },
    "scheduler": {
        "type": "WarmupDecayLR",
        "params": {
            "warmup_min_lr": "auto",
            "warmup_max_lr": "auto",
            "warmup_num_steps": "auto",
            "total_num_steps": "auto",
        },
    },
    "zero_optimization": {
        "stage": 3,
        "sub_group_size": 1e9,
        "reduce_bucket_size": "auto",
        "stage3_prefetch_bucket_size": "auto",
        "stage3_param_persistence_threshold": "auto",
        "offload_param": {"device": "none"},
    },
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "steps_per_print": 2000,
    "wall_clock_breakdown": False,
    "activation_checkpointing": {"partition_activations": "auto"},
}


def test_a_file_for_the_trainer_loads():
    made = plan(TRAINER_FILE, "--warmup-ratio", "0.1", "--gradient-accumulation-steps", "3")
    assert (made.schedule, made.warmup_steps, made.stage) == ("linear", None, 3)
    assert made.config["train_batch_size"] == 8 * 3 * 2
    assert "scheduler" not in made.config
    assert "offload" not in " ".join(made.notes)
    notes = " ".join(made.notes)
    assert '"activation_checkpointing" -> left out: --gradient-checkpointing' in notes
    assert "activation_checkpointing" not in made.config
    assert 'warmup_type "log" (DeepSpeed\'s default) -> "linear"' in notes


CONFLICTS = [
    ({"train_micro_batch_size_per_gpu": 4}, ["--per-device-train-batch-size", "8"], "4", "8"),
    ({"gradient_clipping": 0.5}, ["--max-grad-norm", "1.0"], "0.5", "1.0"),
    ({"optimizer": {"params": {"lr": 1e-3}}}, ["--learning-rate", "0.0001"], "0.001", "0.0001"),
    ({"bf16": {"enabled": True}}, ["--precision", "fp16"], "bf16", "fp16"),
    ({"train_batch_size": 32}, ["--global-batch-size", "64"], "32", "64"),
    (
        {"scheduler": {"type": "WarmupLR"}},
        ["--lr-scheduler-type", "linear"],
        "constant",
        "linear",
    ),
    (
        {"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 7}}},
        ["--warmup-ratio", "0.2"],
        "7",
        "0.2",
    ),
    (
        {"train_batch_size": 32},
        ["--gradient-accumulation-steps", "3"],
        "x 2 micro-batches",
        "x 3",
    ),
]


@pytest.mark.parametrize(("config", "arguments", "ours", "theirs"), CONFLICTS)
def test_two_meanings_are_an_error_that_shows_both(config, arguments, ours, theirs):
    with pytest.raises(WholewordError) as caught:
        plan(config, *arguments)
    assert ours in str(caught.value) and theirs in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_files_value_holds_where_the_command_line_is_silent():
    made = plan({"optimizer": {"params": {"lr": 5e-4}}, "gradient_clipping": 0.5})
    assert made.learning_rate == 5e-4
    assert made.config["gradient_clipping"] == 0.5


def scheduled(kind, **params):
    return {"scheduler": {"type": kind, "params": params}}


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (scheduled("WarmupLR", warmup_max_lr=1e-3), '"scheduler.params.warmup_max_lr" is 0.001'),
        (scheduled("WarmupLR", warmup_min_lr=1e-6), '"scheduler.params.warmup_min_lr" is 1e-06'),
        (scheduled("WarmupLR", warmup_min_lr=[0, 0]), '"scheduler.params.warmup_min_lr" is [0, 0]'),
        (scheduled("WarmupLR", warmup_type="log"), "\"scheduler.params.warmup_type\" is 'log'"),
        (scheduled("WarmupLR", last_batch_iteration=5), '"scheduler.params.last_batch_iteration"'),
        (scheduled("WarmupLR", total_num_steps=5), "WarmupLR has no such parameter"),
        (scheduled("WarmupDecayLR", total_num_steps=5), "follow from --num-train-epochs"),
        (scheduled("WarmupCosineLR", cos_min_ratio=0.1), '"scheduler.params.cos_min_ratio" is 0.1'),
        (scheduled("WarmupCosineLR", warmup_min_ratio=0.5), "warm-up begins at 0"),
        ({"scheduler": {"type": "WarmupLR", "params": [1]}}, '"scheduler.params" is not an object'),
    ],
)
def test_a_schedule_that_is_not_followed_is_refused(config, named):
    with pytest.raises(WholewordError) as caught:
        plan(config)
    assert named in str(caught.value) and "\n" not in str(caught.value)


def test_a_schedule_that_says_what_happens_is_taken():
    config = scheduled(
        "WarmupDecayLR",
        warmup_max_lr=3e-4,
        warmup_min_lr=0,
        warmup_type="linear",
        warmup_num_steps=7,
        total_num_steps=40,
        last_batch_iteration=-1,
    )
    made = plan(config, "--learning-rate", "3e-4", "--max-steps", "40")
    assert (made.schedule, made.warmup_steps) == ("linear", 7)
    assert not any("scheduler" in note for note in made.notes)


def test_where_deepspeeds_default_schedule_is_not_ours_it_is_said():
    notes = " | ".join(plan(scheduled("WarmupDecayLR"), "--learning-rate", "3e-4").notes)
    for said in ('warmup_type "log"', "1000 warm-up steps", "warmup_max_lr 0.001", "-> 0.0003"):
        assert said in notes
    assert "cos_min_ratio" in " ".join(plan(scheduled("WarmupCosineLR", cos_min_ratio=1e-4)).notes)


@pytest.mark.parametrize(
    "config",
    [
        {"zero_optimization": {"stage": 2, "zenflow": {"topk_ratio": 0.1}}},
        {"hybrid_engine": {"enabled": True}},
        {"weight_quantization": {"quantized_initialization": {"num_bits": 8}}},
        {"tensor_parallel": {"autotp_size": 2}},
        {"sequence_parallel_size": 2},
        {"gradient_allreduce_op": "sum"},
        {"managed_gradient_accumulation": False},
        {"checkpoint": {"use_node_local_storage": True}},
        {"checkpoint": {"load_universal": True}},
        {"checkpoint": {"writer": {"type": "fast"}}},
        {"compile": {"deepcompile": True}},
        {"expert_parallel": {"enabled": True}},
        {"torch_autocast": {"enabled": True}},
    ],
    ids=json.dumps,
)
def test_what_would_take_over_the_loop_is_refused(config):
    with pytest.raises(WholewordError, match=r'^ds_configs/zero2.json: ".+" cannot be used: .+; '):
        plan(config)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("activation_checkpointing", {"partition_activations": True}, "--gradient-checkpointing"),
        ("tensorboard", {"enabled": True, "output_path": "x"}, "--report-to"),
        ("wandb", {"enabled": True}, "--report-to"),
        ("csv_monitor", {"enabled": True}, "--report-to"),
        ("comet", {"enabled": True}, "--report-to"),
        ("dataloader_drop_last", True, "leaves no row out"),
        ("data_parallel_size", 2, "every rank takes rows"),
        ("disable_allgather", True, "DeepSpeed"),
    ],
)
def test_what_has_no_effect_here_is_named(key, value, named):
    made = plan({key: value})
    assert key not in made.config
    assert any(note.startswith(f'"{key}" -> left out: ') and named in note for note in made.notes)


@pytest.mark.parametrize("key", ["wandb", "tensorboard", "hybrid_engine", "data_efficiency"])
@pytest.mark.parametrize("section", [{}, {"enabled": False}, {"enabled": "auto"}])
def test_a_section_that_is_off_is_no_matter(key, section):
    assert not any(f'"{key}" -> left' in note for note in plan({key: section}).notes)


def adam(**params):
    return {"optimizer": {"type": "AdamW", "params": params}}


@pytest.mark.parametrize("hardware", [CPU, GPU], ids=["cpu", "gpu"])
def test_torchs_fused_adamw_is_the_default_everywhere(hardware):
    for config in ({}, adam(), adam(torch_adam="auto"), adam(bias_correction=True)):
        made = plan(config, hardware=hardware)
        params = made.config["optimizer"]["params"]
        assert params["torch_adam"] and params["fused"] and "bias_correction" not in params
        assert any("torch's fused AdamW" in note for note in made.notes)
    assert (
        plan(adam(foreach=True), hardware=hardware).config["optimizer"]["params"]["fused"] is False
    )


def test_deepspeeds_adam_where_the_file_asks_for_it_or_offloads():
    made = plan(adam(torch_adam=False, bias_correction=False), hardware=GPU)
    assert made.config["optimizer"]["params"]["torch_adam"] is False
    assert not any("AdamW" in note for note in made.notes)
    offload = {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}
    made = plan(offload, hardware=GPU)
    assert not made.config["optimizer"]["params"].get("torch_adam")
    assert plan(adam(torch_adam=False)).config["optimizer"]["params"]["torch_adam"], "on a CPU"


@pytest.mark.parametrize(
    ("params", "remedy"),
    [
        ({"bias_correction": False}, "torch always corrects the bias"),
        ({"max_grad_norm": 1.0}, 'write "gradient_clipping"'),
        ({"set_grad_none": True}, "remove that line"),
        ({"torch_adam": "yes"}, "write true, false"),
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("hardware", [CPU, GPU], ids=["cpu", "gpu"])
def test_what_torchs_adamw_does_not_know_is_refused_with_the_reason(params, remedy, hardware):
    with pytest.raises(WholewordError, match=r'"optimizer\.params\.') as caught:
        plan(adam(**params), hardware=hardware)
    assert remedy in str(caught.value)
    asks = "false for DeepSpeed's" in str(caught.value)
    assert asks == (hardware is GPU and params.keys().isdisjoint({"max_grad_norm", "torch_adam"}))


IMPOSSIBLE = [
    {"zero_optimization": {"stage": 4}},
    {"zero_optimization": []},
    {"fp16": {"enabled": True}, "bf16": {"enabled": True}},
    {"fp16": {"enabled": 1}},
    {"optimizer": {"type": "Lamb"}},
    {"optimizer": {"params": {"lr": "fast"}}},
    {"scheduler": {"type": "OneCycle"}},
    {"train_batch_size": 5},
    {"gradient_clipping": -1},
    {"data_efficiency": {"enabled": True}},
]


@pytest.mark.parametrize("config", IMPOSSIBLE, ids=json.dumps)
def test_impossible_values_are_one_line(config):
    with pytest.raises(WholewordError, match=r"^ds_configs/zero2.json: .+; .+$"):
        plan(config)


def test_missing_and_malformed_files(tmp_path):
    with pytest.raises(WholewordError, match=r"nothing\.json: no such DeepSpeed configuration"):
        read_config(str(tmp_path / "nothing.json"))
    for content in ("{", "[1]", ""):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(WholewordError, match=r"bad\.json: .+; .+"):
            read_config(str(tmp_path / "bad.json"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 70) | st.floats() | st.sampled_from(["auto", "x"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["enabled", "type", "stage", "params", "lr", "device"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)
KEYS = st.sampled_from(
    [
        "fp16",
        "bf16",
        "zero_optimization",
        "optimizer",
        "scheduler",
        "train_batch_size",
        "gradient_clipping",
        "train_micro_batch_size_per_gpu",
        "gradient_accumulation_steps",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_json_is_resolved_or_refused_in_one_line(config):
    try:
        made = plan(config)
    except WholewordError as error:
        assert "\n" not in str(error)
    else:
        assert made.accumulation >= 1


def test_a_file_that_contradicts_a_recipe_is_refused():
    """Else the recipe's line would name a rate that the run does not take."""
    file = {"optimizer": {"type": "AdamW", "params": {"lr": 5e-5}}}
    with pytest.raises(WholewordError, match=r"lr\" is 5e-05, .* --learning-rate 0.0001"):
        plan(file, "--recipe", "tapt")
