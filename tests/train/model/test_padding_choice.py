"""Packs or padded batches: chosen once, at set-up, with the reason in words."""

import shutil

import pytest
import torch

from tests.train import runs
from tests.train.model_zoo import CONFIGS, DEBERTA, make_model
from tests.train.shard_factory import ShardSpec, make_shards
from train.data.shard_dataset import ShardDataset
from train.engine.config import Hardware, make_engine_plan
from train.engine.process_group import Ranks
from train.model import attention
from train.model.attention import PACKED
from train.model.packed import why_padded
from train.options import parse
from train.run import setup

AMPERE, TURING = (8, 0), (7, 5)
HALF = torch.float16


@pytest.fixture(autouse=True)
def torch_has_the_kernel(monkeypatch):
    monkeypatch.setattr(attention, "_has_varlen_attn", lambda: True)


@pytest.mark.parametrize(
    ("config", "device", "dtype", "capability", "reason"),
    [
        (CONFIGS["bert"], "cuda", HALF, AMPERE, None),
        (CONFIGS["bert"], "cpu", torch.float32, (0, 0), None),
        (CONFIGS["bert"], "cuda", torch.float32, AMPERE, "fp16 and bf16 only"),
        (CONFIGS["bert"], "cuda", HALF, TURING, "this one has 7.5"),
        (DEBERTA, "cuda", HALF, AMPERE, "does not keep packed rows apart"),
        (DEBERTA, "cpu", torch.float32, (0, 0), "does not keep packed rows apart"),
    ],
)
def test_the_reason_is_the_devices_or_the_models(config, device, dtype, capability, reason):
    found = why_padded(make_model(config), device, dtype, capability)
    assert found is None if reason is None else reason in found


def test_heads_of_an_odd_size_are_a_reason_on_a_gpu_only():
    config = type(CONFIGS["bert"])(**CONFIGS["bert"].to_dict() | {"hidden_size": 20})
    assert "model's have 5" in why_padded(make_model(config), "cuda", HALF, AMPERE)
    assert why_padded(make_model(config), "cpu", torch.float32, (0, 0)) is None


class TwoMachines(Ranks):
    """Rank 0 of two, on a new GPU beside an older one."""

    def gather(self, value):
        return [value, TURING]


@pytest.mark.parametrize(
    ("ranks", "precision", "reason"),
    [
        (Ranks, "fp16", None),
        (Ranks, "fp32", "fp16 and bf16 only"),
        (TwoMachines, "bf16", "this one has 7.5"),
    ],
)
def test_set_up_prepares_the_model_for_what_every_rank_can(
    ranks, precision, reason, tmp_path, monkeypatch
):
    monkeypatch.setattr(setup, "gpu_capability", lambda device: AMPERE)
    make_shards(tmp_path, ShardSpec(max_length=32, vocab_size=8000))
    shutil.copytree(runs.ROOT / "samples" / "tokenizer", tmp_path / "tokenizer")
    options = parse([*runs.MODEL, "--data", str(tmp_path), "--precision", precision])
    plan = make_engine_plan({}, options, 1, Hardware("cuda", bf16=True))
    gpu = ranks(rank=0, world_size=1, device=torch.device("cuda", 0))
    manifest = ShardDataset(tmp_path, "train").manifest
    model, padding = setup.make_model(options, plan, manifest, gpu)
    assert padding is None if reason is None else reason in padding
    assert (model.config._attn_implementation == PACKED) == (padding is None)
