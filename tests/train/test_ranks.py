"""What ranks say when one of them is gone."""

import signal
import time

import pytest
import torch

from train import ranks


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
    assert ranks.is_lost_rank(error) == lost


def test_the_first_rank_leaves_the_lost_one_time_to_speak(monkeypatch, capsys):
    naps = []
    monkeypatch.setattr(time, "sleep", naps.append)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    monkeypatch.setenv("RANK", "0")
    assert ranks.report_lost_rank(RuntimeError("closed by peer")) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert len(naps) == 1 and naps[0] > ranks._FIRST_WORD
    monkeypatch.setenv("RANK", "1")
    ranks.report_lost_rank(RuntimeError("closed by peer"))
    assert naps[1] == ranks._FIRST_WORD
