"""Training on a GPU: precision x stage x accumulation, resumed, offloaded, compiled, padded.

Tests of one group of runs stay with one worker of pytest-xdist, which makes those runs once.
"""

import json
import math
import subprocess
import sys

import pytest
import torch

from tests.gpu.device import DRY_RUN, why_no_packs
from tests.gpu.gpu_runs import ACCUMULATIONS, MOVES, PRECISIONS, STAGES, STEPS
from tests.gpu.syncs import FIRST, LAST
from tests.train import runs

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
CLOSE = 0.03  # between losses of about 9, of runs that differ in rounding only
HALF = ("fp16", "bf16")
LIMIT = 900 if DRY_RUN else 240  # seconds of a group


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """The runs of a group, made when the first test asks for them."""
    made = {}

    def of(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            command = [sys.executable, "-m", "tests.gpu.gpu_runs", name, str(folder)]
            process = subprocess.run(
                command, cwd=runs.ROOT, capture_output=True, text=True, timeout=LIMIT
            )
            assert process.returncode == 0, process.stderr[-3000:]
            made[name] = json.loads(process.stdout.splitlines()[-1])
        return made[name]

    return of


def check(run, layout=None):
    """A run came to its end, with numbers for losses."""
    assert run["status"] == 0, run["error"]
    assert len(run["losses"]) == STEPS
    assert all(map(math.isfinite, run["losses"]))
    assert layout is None or run["layout"] == layout


def layout_of(precision):
    return "padded" if why_no_packs(DTYPES[precision]) else "packed"


@pytest.mark.xdist_group("matrix")
@pytest.mark.parametrize("accumulation", ACCUMULATIONS)
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_and_stage_trains_alike(precision, stage, accumulation, group):
    found = group("matrix")
    run = found[f"{precision} {stage} x {accumulation}"]
    check(run, layout_of(precision))
    reference = found[f"{precision} {STAGES[-1]} x {accumulation}"]
    assert run["losses"] == pytest.approx(reference["losses"], abs=CLOSE)


@pytest.mark.xdist_group("learning")
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_and_stage_learns(precision, stage, group):
    found = group("learning")
    run = found[f"{precision} {stage}"]
    assert run["status"] == 0, run["error"]
    assert run["losses"][-1] < run["losses"][0] - (0.1 if DRY_RUN else 0.5)
    assert run["losses"][-1] == pytest.approx(found[f"fp32 {STAGES[-1]}"]["losses"][-1], abs=0.2)


@pytest.mark.xdist_group("padded")
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_model_with_buffers_trains_padded_in_every_stage(precision, stage, group):
    found = group("padded")
    run = found[f"deberta {precision} {stage}"]
    check(run, "padded")
    reference = found[f"deberta {precision} {STAGES[0]}"]
    assert run["losses"] == pytest.approx(reference["losses"], abs=CLOSE)


@pytest.mark.xdist_group("synchronizing")
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("precision", HALF)
def test_no_step_waits_for_the_gpu_but_deepspeed(precision, stage, group):
    """DeepSpeed reads the overflow and the norm once a step; stage 3 waits for every module."""
    run = group("synchronizing")[f"{precision} {stage}"]
    assert run["status"] == 0, run["error"]
    if layout_of(precision) == "padded" and not DRY_RUN:
        pytest.skip("stock attention may wait where it likes")
    own = [stack for stack in run["syncs"] if not _is_deepspeeds(stack)]
    assert not own, "\n".join(" < ".join(reversed(stack[-6:])) for stack in own[:5])
    if stage < 3:
        assert len(run["syncs"]) <= 4 * (LAST - FIRST), run["syncs"][:5]


def _is_deepspeeds(stack):
    """Whether DeepSpeed stands further inside than anything of ours."""
    ours = [n for n, frame in enumerate(stack) if frame.startswith(f"{runs.ROOT}/train/")]
    theirs = [n for n, frame in enumerate(stack) if "/deepspeed/" in frame]
    return max(theirs, default=-1) > max(ours, default=-1)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "precision",
    [pytest.param(name, marks=pytest.mark.xdist_group(f"resumed {name}")) for name in PRECISIONS],
)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(precision, stage, group):
    found = group(f"resumed {precision}")
    whole = found[f"{precision} {stage} whole"]
    check(whole)
    for now in {stage, MOVES[stage]}:
        run = found[f"{precision} {stage} on in {now}"]
        assert run["status"] == 0, run["error"]
        assert run["losses"] == pytest.approx(whole["losses"], abs=CLOSE)


@pytest.mark.xdist_group("matrix")
@pytest.mark.parametrize("accumulation", ACCUMULATIONS)
def test_half_precisions_follow_each_other(accumulation, group):
    if layout_of("fp16") != layout_of("bf16"):
        pytest.skip("packs in one precision only")
    found = group("matrix")
    one, other = (found[f"{name} {STAGES[-1]} x {accumulation}"]["losses"] for name in HALF)
    assert one == pytest.approx(other, abs=3 * CLOSE)


@pytest.mark.xdist_group("compiled")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_compiled_models_train_alike(precision, group):
    found = group("compiled")
    check(found[f"{precision} as it is"])
    check(found[f"{precision} compiled"])
    losses = [found[f"{precision} {how}"]["losses"] for how in ("as it is", "compiled")]
    assert losses[0] == pytest.approx(losses[1], abs=CLOSE)


def test_two_gpus_train_as_one(tmp_path):
    if torch.cuda.device_count() < 2 and not DRY_RUN:
        pytest.skip("one GPU here")
    data = runs.make_data(tmp_path / "shards")
    options = ("--precision", "bf16", "--deepspeed", "ds_configs/zero2.json", "--save-steps", "0")
    found = []
    for ranks in (1, 2):
        process = runs.launch(data, tmp_path / str(ranks), ranks, *options)
        said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        found.append(runs.losses(tmp_path / str(ranks)))
    assert found[0] == pytest.approx(found[1], abs=CLOSE)


@pytest.mark.xdist_group("offloaded")
@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize("precision", HALF)
def test_offloading_trains_or_says_what_is_missing(precision, stage, group):
    run = group("offloaded")[f"{precision} {stage}"]
    if run["status"] == 1:
        assert 'DeepSpeed cannot build its operation "cpu_adam"' in run["error"]
        assert run["error"].count("\n") == 1
        pytest.skip(run["error"])
    check(run)
