"""Whose an output folder is."""

import pytest

from preprocess.errors import WholewordError
from train.evaluate.claim import claim_output

WANTED = {"protocol": 1, "epochs": 6}


def refuse(folder, wanted, message):
    with pytest.raises(WholewordError, match=message) as caught:
        claim_output(folder, wanted, "a comparison")
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_one_with_other_options_is_refused(tmp_path):
    folder = tmp_path / "report"
    claim_output(folder, WANTED, "a comparison")
    (folder / "runs").mkdir()
    claim_output(folder, WANTED, "a comparison")
    refuse(folder, WANTED | {"epochs": 7}, r"other epochs \(6; now 7\)")


def test_a_claim_of_what_has_failed_is_taken_over(tmp_path):
    (tmp_path / "mine.log").touch()
    claim_output(tmp_path, WANTED, "a comparison")
    claim_output(tmp_path, WANTED | {"epochs": 7}, "a comparison")
    (tmp_path / "runs").mkdir()
    refuse(tmp_path, WANTED, "other epochs")


@pytest.mark.parametrize("options", [None, '{"seed": 1}', "[]"])
def test_a_folder_of_something_else_is_refused(tmp_path, options):
    if options:
        (tmp_path / "options.json").write_text(options)
    else:
        (tmp_path / "manifest.json").write_text("{}")
    before = sorted(tmp_path.iterdir())
    refuse(tmp_path, WANTED, "holds other files than a comparison's")
    assert sorted(tmp_path.iterdir()) == before
