"""Loading for ZeRO-3: the same weights as without, and no whole model beyond rank 0."""

import json
import sys

import pytest
import torch

from tests.train import runs
from tests.train.model_zoo import CONFIGS, DEBERTA, make_model
from train.engine.partition import load_partitioned
from train.engine.process_group import Ranks


def test_ranks_hold_their_part_of_the_same_model():
    said = runs.run_new_ranks([sys.executable, "-m", "tests.train.partition_ranks"], 2)
    lines = [line for line in said.splitlines() if line.startswith("{")]
    first, second = sorted(map(json.loads, lines), key=lambda found: found["rank"])
    for found in (first, second):
        assert found["why_padded"] == "for a test" and found["same"] and found["tied"]
        assert found["held"] == pytest.approx(0.5, abs=0.01)
    assert first["grown"] > 0.95, "rank 0 loads it whole, so this measures something"
    assert second["grown"] < 0.75, "its half, and one parameter at a time"


@pytest.mark.parametrize("config", [DEBERTA, CONFIGS["bert"], CONFIGS["modernbert"]])
def test_buffers_go_where_the_parameters_will_be(config, monkeypatch):
    """DeepSpeed moves parameters alone, and takes a model that it has partitioned as it is."""
    monkeypatch.setattr("deepspeed.zero.Init", lambda **keywords: None)
    model = make_model(config)
    stored = set(model.state_dict())
    ranks = Ranks(rank=0, world_size=1, device=torch.device("meta"))
    got, why_padded = load_partitioned(lambda: (model, "a reason"), make_model, {}, "fp32", ranks)
    assert why_padded == "a reason"
    assert list(got.buffers()), "there is something to move"
    assert {buffer.device.type for buffer in got.buffers()} == {"meta"}
    assert {parameter.device.type for parameter in got.parameters()} == {"cpu"}
    assert set(got.state_dict()) == stored, "what was not stored still is not"
