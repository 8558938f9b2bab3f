"""What ranks say when one of them is gone."""

import contextlib
import errno
import signal
import tempfile
import time
from pathlib import Path

import pytest
import torch

from preprocess.errors import WholewordError
from train import pretrain
from train.engine.process_group import Ranks
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


@pytest.mark.parametrize(
    ("full", "words"),
    [((), "is in {run}/error-rank0.log"), (("run",), "is in {tmp}/"), (("run", "tmp"), "above")],
)
def test_a_defect_is_reported_wherever_there_is_room(full, words, tmp_path, monkeypatch, capsys):
    run, tmp = tmp_path / "run", tmp_path / "tmp"
    run.mkdir()
    tmp.mkdir()
    write = Path.write_text

    def write_if_room(path, *arguments, **named):
        if any(tmp_path / name in path.parents for name in full):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, *arguments, **named)

    monkeypatch.setattr(Path, "write_text", write_if_room)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp))
    monkeypatch.setenv("RANK", "0")
    try:
        raise KeyError("a slip of ours")
    except KeyError:
        assert failures.report_defect(run) == 70
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("internal error: KeyError: 'a slip of ours'; the traceback ")
    assert words.format(run=run, tmp=tmp) in last


@pytest.mark.parametrize("error", [WholewordError("a: b; c"), KeyError("a slip")])
def test_what_went_wrong_is_said_before_the_group_is_taken_apart(
    error, monkeypatch, tmp_path, capsys
):
    """Where NCCL may wait for a lost rank."""
    said = []

    @contextlib.contextmanager
    def group():
        try:
            yield Ranks(0, 1, torch.device("cpu"))
        finally:
            said.append(capsys.readouterr().err)

    def fail(*_):
        raise error

    monkeypatch.setattr(pretrain, "process_group", group)
    monkeypatch.setattr(pretrain, "set_up", fail)
    status = pretrain.main(["--output-dir", str(tmp_path)])
    assert status == (1 if isinstance(error, WholewordError) else 70)
    assert said and "error: " in said[0]
