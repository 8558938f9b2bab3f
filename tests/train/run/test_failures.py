"""What ranks say when one of them is gone."""

import signal
import time

from train.run import failures


def test_the_first_rank_leaves_the_lost_one_time_to_speak(monkeypatch, capsys):
    naps = []
    monkeypatch.setattr(time, "sleep", naps.append)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    monkeypatch.setenv("RANK", "0")
    assert failures.report_lost_rank(RuntimeError("closed by peer")) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert len(naps) == 1 and naps[0] > failures._FIRST_WORD
    monkeypatch.setenv("RANK", "1")
    failures.report_lost_rank(RuntimeError("closed by peer"))
    assert naps[1] == failures._FIRST_WORD
