"""fp16, as DeepSpeed's engine computes it on a CPU: overflows, and what survives them."""

import itertools
import json

import numpy as np
import pytest

from tests.train import runs
from tests.train.fp16_runs import STEPS, THROUGH
from train.engine.schedules import Schedule

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    said = runs.run_module("tests.train.fp16_runs", str(tmp_path_factory.mktemp("fp16")))
    return json.loads(said)


def skipped(run):
    """Which steps found the scale lower than the step before, or the first one."""
    scales = [2.0**32, *run["scales"]]
    return [after < before for before, after in itertools.pairwise(scales)]


@pytest.mark.parametrize(("stage", "accumulation"), THROUGH)
def test_a_run_begins_with_overflows_and_trains_on(found, stage, accumulation):
    run = found[f"through {stage} x {accumulation}"]
    assert run["status"] == 0, run["error"]
    assert len(run["losses"]) == STEPS
    overflows = skipped(run)
    count = sum(overflows)
    assert 12 <= count < STEPS - 2 and all(overflows[:count]) and not any(overflows[count:])
    # The schedule stands still meanwhile, and the data goes on.
    applied = np.cumsum([0, *[not overflow for overflow in overflows[:-1]]])
    schedule = Schedule("linear", 1e-2, 2, STEPS)
    assert run["rates"] == pytest.approx([schedule(int(step)) for step in applied])
    assert run["saved"] == [STEPS]
    assert "fp16 stays on a CPU, where it is slow: WHOLEWORD_CPU_FP16=1" in run["output"]
    assert ("ZeRO 0 -> 1" in run["output"]) == (stage == 0)


def test_stages_and_ranks_of_the_data_agree(found):
    one, three = found["through 1 x 8"], found["through 3 x 8"]
    assert one["cursor"] == three["cursor"]
    np.testing.assert_allclose(one["losses"], three["losses"], atol=1e-3)


@pytest.mark.parametrize(("precision", "band"), [("bf16", 0.1), ("fp16", 0.03)])
def test_a_hundred_steps_follow_fp32(found, precision, band):
    expected, run = found["hundred fp32"]["losses"], found[f"hundred {precision}"]["losses"]
    assert len(run) == 100
    np.testing.assert_allclose(run, expected, rtol=0, atol=band)
    assert np.ptp(expected) > 0.3  # something happens meanwhile


@pytest.mark.parametrize("step", [4, 12])
def test_on_the_same_layout_a_run_goes_on_bit_for_bit(found, step):
    run, whole = found[f"stopped at {step}, on in 2"], found["never stopped"]
    assert run["status"] == 0, run["error"]
    for what in ("losses", "scales", "rates", "cursor"):
        assert run[what] == whole[what], what


@pytest.mark.parametrize(("step", "stage"), [(4, 3), (12, 1), (12, 3)])
def test_another_stage_takes_the_scale_along(found, step, stage):
    """At step 4 every step was skipped, so that there are no moments to convert."""
    run, whole = found[f"stopped at {step}, on in {stage}"], found["never stopped"]
    assert run["status"] == 0, run["error"]
    for what in ("scales", "rates", "cursor"):
        assert run[what] == whole[what], what
    np.testing.assert_allclose(run["losses"], whole["losses"], atol=1e-3)
    assert "converts" in run["output"]


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_persistent_overflow_is_one_line(found, stage):
    run = found[f"overflowing {stage}"]
    assert run["status"] == 1
    assert run["error"].count("\n") == 1
    assert "steps in a row overflowed in fp16; lower --learning-rate" in run["error"]
    assert len(run["losses"]) < 80
    assert run["scales"][-1] == 1


def test_a_broken_state_pushes_no_good_checkpoint_out(found):
    run, again = found["exploding"], found["exploding again"]
    finite = [loss is not None for loss in run["losses"]]
    last = sum(finite)
    assert all(finite[:last]) and 6 < last < len(finite)
    assert len(run["saved"]) == 3 and max(run["saved"]) <= last
    assert "not saved, for the loss is not a number" in run["output"]
    for one in (run, again):
        assert one["status"] == 1
        assert "is not a number; lower --learning-rate" in one["error"]
        assert f"step-{max(run['saved']):08d}" in one["error"]
    assert again["saved"] == run["saved"]
