"""Which errors say that a rank is gone, and by which group ranks agree on numbers."""

import deepspeed
import pytest
import torch

from train.engine.launch import Launch
from train.engine.peers import Peers
from train.engine.process_group import Ranks, is_lost_rank, process_group

GPU = torch.device("cuda", 0)  # there is none: a tensor made there is an error


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (
            RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error"),
            True,
        ),
        (torch.distributed.DistBackendError("NCCL error"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (OSError("/gloo/"), False),
    ],
)
def test_a_lost_rank_is_no_defect(error, lost):
    assert is_lost_rank(error) == lost


def test_numbers_and_objects_do_not_go_through_the_gpu(monkeypatch):
    calls = []

    def all_reduce(tensor, group):
        calls.append((tensor.device.type, tensor.dtype, group))
        tensor.mul_(2)

    distributed = torch.distributed
    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(
        distributed, "broadcast_object_list", lambda box, src, group: calls.append(group)
    )
    monkeypatch.setattr(
        distributed, "all_gather_object", lambda values, value, group: calls.append(group)
    )
    monkeypatch.setattr(distributed, "barrier", lambda group: calls.append(group))
    ranks = Ranks(0, 2, GPU, control="gloo's")
    assert ranks.sum([1.0, 2.0**53]) == [2.0, 2.0**54]
    ranks.share(1), ranks.gather(1), ranks.wait()
    assert calls == [("cpu", torch.float64, "gloo's"), *["gloo's"] * 3]


@pytest.mark.parametrize(
    ("backend", "world_size", "control"),
    [("nccl", 2, "group of gloo"), ("nccl", 1, None), ("gloo", 2, None)],
)
def test_a_group_of_gloos_is_made_where_the_default_one_is_not(
    backend, world_size, control, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    peers = Peers()
    peers.launch = Launch(0, 0, world_size, "127.0.0.1", 29500, "a test")
    peers.store = "the store"
    for name in peers.launch.variables():
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(deepspeed, "init_distributed", lambda **keywords: None)
    formed = []
    fakes = {
        "init_process_group": lambda backend, **keywords: formed.append(keywords),
        "get_rank": lambda: 0,
        "get_world_size": lambda: world_size,
        "get_backend": lambda: backend,
        "new_group": lambda backend: f"group of {backend}",
        "is_initialized": lambda: False,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.distributed, name, fake)
    with process_group(peers) as ranks:
        assert ranks.control == control
    assert (formed[0]["store"], formed[0]["world_size"]) == ("the store", world_size)
