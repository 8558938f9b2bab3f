"""Which errors say that a rank is gone."""

import pytest
import torch

from train.engine.process_group import is_lost_rank


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
