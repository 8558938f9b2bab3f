"""A run's folder: lock, stored settings, refusal of changes."""

import subprocess
import sys

import pytest

from preprocess.errors import WholewordError
from train.options import parse
from train.run import folder as run_folder


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
    before = {"seed": 1, "model": "a", "masking": "wwm"}
    run_folder.store_settings(tmp_path, before)
    assert not run_folder.check_unchanged(tmp_path, {"seed": 2}, parse([]))  # nothing trained yet
    (tmp_path / "final").mkdir()
    assert run_folder.check_unchanged(tmp_path, before, parse([]))
    now = before | {"seed": 2, "model": "b"}
    with pytest.raises(WholewordError, match="model: a -> b; seed: 1 -> 2"):
        run_folder.check_unchanged(tmp_path, now, parse([]))
    assert not run_folder.check_unchanged(tmp_path, now, parse(["--allow-changes"]))
    with pytest.raises(WholewordError, match="forbids"):
        run_folder.check_unchanged(tmp_path, before, parse(["--resume-from-checkpoint", "none"]))
