"""Runs that go on with other ranks or another ZeRO stage."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from preprocess.errors import WholewordError
from tests.train import runs
from tests.train.shard_factory import ShardSpec, make_shards
from train.engine import checkpoint, universal
from train.engine.checkpoint import RunProgress
from train.engine.schedules import Schedule

pytestmark = pytest.mark.slow

# Skipped steps, and the loss scale at the end, of the moves in fp16.
SKIPPED = {"fp16": (4, 2.0**13), "fp16, all skipped": (8, 2.0**22)}


def layout(stage=2, world_size=2, precision="fp32", batch_warmup=0, optimizer="AdamW"):
    return RunProgress(
        step=1,
        epoch=0,
        cursor={},
        best_loss=None,
        evaluations_since_best=0,
        world_size=world_size,
        stage=stage,
        precision=precision,
        settings={"batch_warmup": batch_warmup, "optimizer": optimizer},
    )


@pytest.mark.parametrize(
    ("was", "now", "cause"),
    [
        ({}, {"precision": "bf16"}, "states keep their precision"),
        ({"batch_warmup": 9}, {"world_size": 4}, "with --batch-warmup 9"),
        ({"batch_warmup": 9, "stage": 0}, {"world_size": 4}, "with --batch-warmup 9"),
        ({"precision": "fp16", "stage": 0}, {"stage": 1}, "ZeRO 0 kept fp16 states"),
        ({"optimizer": "Lion"}, {"world_size": 1}, "only AdamW"),
    ],
)
def test_what_cannot_be_moved_is_refused(was, now, cause):
    with pytest.raises(WholewordError, match=cause) as caught:
        universal.check(Path("step-1"), layout(**was), layout(**was | now))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("was", "now", "same"),
    [
        ({"batch_warmup": 9, "optimizer": "Lion"}, {}, True),
        ({"stage": 0, "precision": "fp16", "optimizer": "Lion"}, {"world_size": 1}, True),
        ({}, {"world_size": 1}, False),
        ({"precision": "fp16"}, {"stage": 3}, False),
        ({"batch_warmup": 9}, {"stage": 0}, False),
    ],
)
def test_what_can_be_moved_is_not_refused(was, now, same):
    before, after = layout(**was), layout(**was | now)
    universal.check(Path("step-1"), before, after)
    assert universal.is_same_layout(before, after) == same


@pytest.mark.parametrize(("fused", "device"), [(True, "meta"), (False, "cpu")])
def test_each_parameter_counts_its_own_steps_where_its_update_looks(fused, device):
    """ "meta" stands for a GPU: torch's fused AdamW wants the count beside the parameter."""
    step = torch.tensor(3.0)
    parameters = [torch.nn.Parameter(torch.empty(2, device="meta")) for _ in range(2)]
    optimizer = torch.optim.AdamW(parameters)
    optimizer.defaults["fused"] = fused
    for parameter in parameters:
        optimizer.state[parameter] = {"step": step}
    universal._separate_steps(optimizer)
    first, second = (optimizer.state[parameter]["step"] for parameter in parameters)
    assert {first.device.type, second.device.type} == {device}
    assert first is not second
    if device == "cpu":
        assert first == second == 3 and first.data_ptr() != second.data_ptr()


def test_every_stage_goes_on_as_every_other(tmp_path):
    said = runs.run_module("tests.train.stage_matrix", str(tmp_path))
    found = json.loads(said)
    assert len(found) == 4 * 3 + 3 * (3 * 2)
    for move, (moved, expected) in found.items():
        *losses, steps, skipped, scale = expected
        assert min(losses) > 0 and steps == 8, move
        wanted = SKIPPED.get(move.rsplit(" ", 3)[0], (0, 1))
        assert (skipped, scale) == wanted, move
        np.testing.assert_allclose(moved, expected, rtol=1e-5, err_msg=move)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return runs.make_data(tmp_path_factory.mktemp("elastic") / "shards")


def run(data, output, ranks, stage):
    options = ("--deepspeed", f"ds_configs/zero{stage}.json", "--save-total-limit", "0")
    return runs.run_ranks(runs.command(data, output, *options), ranks)


def go_back(output, step):
    """Make a finished run one that was killed after a step, while it converted."""
    shutil.rmtree(output / "final")
    for saved in checkpoint.checkpoints(output / "checkpoints"):
        if int(saved.name.removeprefix("step-")) > step:
            shutil.rmtree(saved)
    leftover = output / "checkpoints" / ".writing-universal" / "state"
    leftover.mkdir(parents=True)
    (leftover / "mp_rank_00_model_states.pt").write_bytes(b"half")


def go_on(data, output, step, ranks, stage):
    go_back(output, step)
    said = run(data, output, ranks, stage)
    assert "converts" in said
    assert f"step-{step:08d} (step {step} of {runs.STEPS})" in said
    assert not (output / "checkpoints" / ".writing-universal").exists()


def test_two_ranks_then_one_then_two(data, tmp_path):
    output = tmp_path / "run"
    run(data, output, 2, 2)
    never_stopped = runs.losses(output)
    go_on(data, output, 2, ranks=1, stage=2)
    np.testing.assert_allclose(runs.losses(output), never_stopped, rtol=1e-6)
    go_on(data, output, 4, ranks=2, stage=1)
    np.testing.assert_allclose(runs.losses(output), never_stopped, rtol=1e-6)


def test_two_ranks_go_on_with_a_mixture_as_one_never_stopped(data, tmp_path):
    other = tmp_path / "other"
    make_shards(other, ShardSpec(rows=(90,), max_length=24, vocab_size=8000))
    shutil.copytree(data / "tokenizer", other / "tokenizer")
    options = ("--data", str(data), str(other), "--data-weights", "2", "1", "--eval-steps", "0")

    def train(output, ranks):
        words = runs.command(data, output, "--save-total-limit", "0", *options)
        place = words.index("--data")
        return runs.run_ranks([*words[:place], *words[place + 2 :]], ranks)

    train(tmp_path / "one", 1)
    train(tmp_path / "two", 2)
    never_stopped = runs.losses(tmp_path / "two")
    np.testing.assert_allclose(runs.losses(tmp_path / "one"), never_stopped, rtol=1e-6)
    go_back(tmp_path / "two", 3)
    assert "step-00000003 (step 3 of 6)" in train(tmp_path / "two", 2)
    assert runs.losses(tmp_path / "two") == never_stopped


def test_fp16_goes_on_with_other_ranks(data, tmp_path, monkeypatch):
    """From two ranks to one amid overflows, and back later: the scale and the schedule go on.

    Which steps overflow is not the same: on two ranks a loss is twice as large before the mean.
    """
    monkeypatch.setenv("WHOLEWORD_CPU_FP16", "1")
    first = 2.0**20
    config = json.loads((runs.ROOT / "ds_configs" / "zero2.json").read_text())
    config["fp16"] |= {"hysteresis": 1, "initial_scale_power": 20}
    file = tmp_path / "fp16.json"
    file.write_text(json.dumps(config))
    output = tmp_path / "run"
    options = ("--precision", "fp16", "--deepspeed", str(file), "--save-total-limit", "0")
    words = runs.command(data, output, *options, "--max-steps", "10", "--eval-steps", "0")
    runs.run_ranks(words, 2)
    losses = check_overflows(output, first)
    for step, ranks in ((2, 1), (8, 2)):
        go_back(output, step)
        said = runs.run_ranks(words, ranks)
        assert "converts" in said and f"(step {step} of 10)" in said
        again = check_overflows(output, first)
        assert again[:step] == losses[:step]
        np.testing.assert_allclose(again[step], losses[step], rtol=1e-3)  # of the same weights
        losses = again


def check_overflows(output, scale):
    """The losses of a run whose scale only falls, and whose rate follows the steps that counted."""
    schedule, applied = Schedule("linear", 1e-2, 1, 10), 0
    for record in runs.records(output, "train"):
        assert record["learning_rate"] == pytest.approx(schedule(applied))
        assert record["loss_scale"] in (scale, scale / 2)
        applied += record["loss_scale"] == scale
        scale = record["loss_scale"]
    assert 3 <= applied <= 8
    return runs.losses(output)
