"""A run's folder: lock, stored settings, refusal of changes."""

import errno
import os
import signal
import sys
from pathlib import Path

import pytest

from preprocess.errors import WholewordError
from tests.train import preloaded
from train.options import parse
from train.run import folder as run_folder
from train.run.saved_model import ModelNote


def test_a_second_process_is_kept_out_until_the_first_is_gone(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from train.run.folder import claim;"
        "lock = claim(Path(sys.argv[1])); print('mine', flush=True); time.sleep(60)"
    )
    process = preloaded.start([sys.executable, "-c", code, str(tmp_path / "run")], os.environ)
    assert process.stdout.readline() == "mine\n"
    with pytest.raises(WholewordError, match="another run is writing there"):
        run_folder.claim(tmp_path / "run")
    process.send_signal(signal.SIGKILL)
    process.wait()
    run_folder.claim(tmp_path / "run").close()


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(WholewordError, match=r"holds thesis\.txt and no training run"):
        run_folder.claim(tmp_path)


def test_a_full_disk_is_said_with_its_remedy(tmp_path, monkeypatch):
    def no_room(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", no_room)
    with pytest.raises(WholewordError, match=r"run: cannot be written \(No space .*; make room"):
        run_folder.claim(tmp_path / "run")


def test_what_a_kill_has_left_does_not_block_the_next_start(tmp_path):
    for name in (".lock", ".options.json.tmp", ".writing-final", "error-rank0.log"):
        (tmp_path / name).write_text("")
    run_folder.claim(tmp_path).close()


def test_the_way_to_go_on_with_other_data_is_named(tmp_path):
    before, now = {"shards": "a"}, {"shards": "b"}
    note = ModelNote(step=3, finished=True, settings=before)
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "wholeword.json").write_text(note.model_dump_json())
    way = rf"--model {tmp_path}/final --output-dir NEW\), or .* --allow-changes$"
    with pytest.raises(WholewordError, match=way):
        run_folder.check_unchanged(tmp_path, now, parse([]))


def test_changed_settings_are_listed(tmp_path):
    before = {"seed": 1, "model": "a", "shards": "wwm"}
    run_folder.store_settings(tmp_path, before)
    assert not run_folder.check_unchanged(tmp_path, {"seed": 2}, parse([]))  # nothing trained yet
    (tmp_path / "final").mkdir()  # as versions without a note left it
    assert not run_folder.check_unchanged(tmp_path, before, parse([]))
    for finished in (False, True):
        note = ModelNote(step=3, finished=finished, settings=before)
        (tmp_path / "final" / "wholeword.json").write_text(note.model_dump_json())
        assert run_folder.check_unchanged(tmp_path, before, parse([])) == finished
    now = before | {"seed": 2, "model": "b"}
    with pytest.raises(WholewordError, match="model: a -> b; seed: 1 -> 2"):
        run_folder.check_unchanged(tmp_path, now, parse([]))
    assert not run_folder.check_unchanged(tmp_path, now, parse(["--allow-changes"]))
    with pytest.raises(WholewordError, match="forbids"):
        run_folder.check_unchanged(tmp_path, before, parse(["--resume-from-checkpoint", "none"]))


def test_what_an_older_version_did_not_write_down_is_no_change():
    assert run_folder.differences({"seed": 1}, {"seed": 1, "draw_layout": 1}) == []
    assert run_folder.differences({"seed": 1, "eps": 2}, {"seed": 1}) == ["eps: 2 -> None"]
