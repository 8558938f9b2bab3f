"""A run's folder: lock, stored settings, refusal of changes."""

import subprocess
import sys

import pytest

from preprocess.errors import WholewordError
from train.options import parse
from train.run import folder as run_folder
from train.run.final_model import FinalNote


def test_a_second_process_is_kept_out_until_the_first_is_gone(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from train.run.folder import claim;"
        "lock = claim(Path(sys.argv[1])); print('mine', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "mine\n"
    with pytest.raises(WholewordError, match="another run is writing there"):
        run_folder.claim(tmp_path / "run")
    process.kill()
    process.wait()
    run_folder.claim(tmp_path / "run").close()


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(WholewordError, match=r"holds thesis\.txt and no training run"):
        run_folder.claim(tmp_path)


def test_changed_settings_are_listed(tmp_path):
    before = {"seed": 1, "model": "a", "shards": "wwm"}
    run_folder.store_settings(tmp_path, before)
    assert not run_folder.check_unchanged(tmp_path, {"seed": 2}, parse([]))  # nothing trained yet
    (tmp_path / "final").mkdir()  # as versions without a note left it
    assert not run_folder.check_unchanged(tmp_path, before, parse([]))
    for finished in (False, True):
        note = FinalNote(step=3, finished=finished, settings=before)
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
