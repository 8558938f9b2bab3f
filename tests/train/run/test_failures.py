"""What a process says when it cannot go on."""

import contextlib
import errno
import tempfile
from pathlib import Path

import pytest
import torch

from preprocess.errors import WholewordError
from train import pretrain
from train.engine.peers import Peers
from train.engine.process_group import Ranks
from train.run import failures


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
    except KeyError as error:
        assert failures.report(error, Peers(), run) == 70
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
    def group(peers):
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
