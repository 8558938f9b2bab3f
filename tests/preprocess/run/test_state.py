"""Whose folder it is: a finished build, another build, something else, a build at work."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from preprocess.errors import WholewordError
from preprocess.run import state
from preprocess.run.build import run_build
from preprocess.run.plan import identity, plan_build
from preprocess.write.manifest import Manifest
from tests.preprocess import support

Built = tuple[Path, Manifest]


def test_a_finished_build_is_recognised(built: Built, corpus: Path) -> None:
    plan = plan_build(support.options(built[0], corpus))
    assert state.is_finished(plan.output, identity(plan))
    # What does not shape the output does not matter.
    plan = plan_build(support.options(built[0], corpus, workers=3, audit=0, encoder="reference"))
    assert state.is_finished(plan.output, identity(plan))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"max_length": 65}, "--max-length 64 (now 65)"),
        ({"segmenter": "none"}, "--segmenter jieba (now none)"),
        ({"hmm": False}, "--hmm"),
        ({"split_size": 9000}, "--split-size 8192 (now 9000)"),
        ({"validation_fraction": 0.3}, "--validation-fraction 0.2 (now 0.3)"),
        ({"min_chars": 3}, "--min-chars not given (now 3)"),
    ],
)
def test_other_options_are_refused(
    built: Built, corpus: Path, changes: dict[str, object], named: str
) -> None:
    plan = plan_build(support.options(built[0], corpus, **changes))
    with pytest.raises(WholewordError, match=re.escape(f"build ({named}); name another --output")):
        state.is_finished(plan.output, identity(plan))


def test_changed_inputs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one\ntwo\n")
    output = tmp_path / "out"
    support.build(output, tmp_path / "in.txt")
    os.utime(tmp_path / "in.txt", ns=(1, 1))
    plan = plan_build(support.options(output, tmp_path / "in.txt"))
    with pytest.raises(WholewordError, match=r"another build .other content of .*in\.txt."):
        state.is_finished(plan.output, identity(plan))


def test_what_differs_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "b.txt").write_text("two\n")
    (tmp_path / "words.txt").write_text("天下大势 9\n", encoding="utf-8")
    own = {"segmenter": "jieba", "user_dicts": (str(tmp_path / "words.txt"),)}
    support.build(tmp_path / "out", tmp_path / "a.txt", **own)

    def refusal(*names: str, **changes: object) -> str:
        paths = (tmp_path / name for name in names)
        plan = plan_build(support.options(tmp_path / "out", *paths, **{**own, **changes}))
        with pytest.raises(WholewordError) as error:
            state.is_finished(plan.output, identity(plan))
        return str(error.value)

    more = refusal("a.txt", "b.txt")
    assert f"(without {tmp_path}/b.txt); to add the new files to it, use --append" in more
    other = refusal("b.txt", max_length=32)
    assert (
        f"(--max-length 64 (now 32); without {tmp_path}/b.txt; with {tmp_path}/a.txt); name another"
        in other
    )
    assert "(--segmenter jieba (now none)); name" in refusal(
        "a.txt", segmenter="none", user_dicts=()
    )
    (tmp_path / "words.txt").write_text("分久必合 9\n", encoding="utf-8")
    assert "(another user dictionary); name another --output" in refusal("a.txt")


def test_another_folders_content_is_never_touched(tmp_path: Path) -> None:
    output = tmp_path / "thesis"
    output.mkdir()
    (output / "chapter.txt").write_text("years of work")
    with pytest.raises(WholewordError, match="not a build of shards; name another --output"):
        state.is_finished(output, {})
    with pytest.raises(WholewordError, match="--overwrite does not remove"):
        state.remove_build(output)
    assert (output / "chapter.txt").read_text() == "years of work"
    with pytest.raises(WholewordError, match="is a file"):
        state.is_finished(output / "chapter.txt", {})


@pytest.mark.parametrize("name", ["notes.txt", "train/notes.txt"])
def test_overwrite_removes_only_what_a_build_wrote(built: Built, tmp_path: Path, name: str) -> None:
    output = tmp_path / "out"
    shutil.copytree(built[0], output)
    (output / name).write_text("mine")
    with pytest.raises(WholewordError, match=name):
        state.remove_build(output)
    assert (output / "manifest.json").exists()
    (output / name).unlink()
    (output / ".manifest.json.tmp").touch()  # of a build that was killed
    state.remove_build(output)
    assert [path.name for path in output.rglob("*")] == [".build", "lock"]


def test_two_builds_do_not_share_a_folder(tmp_path: Path, corpus: Path) -> None:
    output = tmp_path / "out"
    running = run_build(plan_build(support.options(output, corpus)))
    next(running)
    with pytest.raises(WholewordError, match="another build is writing here"):
        support.build(output, corpus)
    with pytest.raises(WholewordError, match="another build is writing here"):
        state.remove_build(output)
    running.close()
    support.build(output, corpus)


def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from preprocess.run import state\n"
        "with state.locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=support.REPOSITORY, check=False
    )
    assert (tmp_path / ".build" / "lock").exists()
    with state.locked(tmp_path):
        pass


def test_a_build_that_failed_before_any_task_gives_way_to_its_remedy(
    tmp_path: Path, corpus: Path
) -> None:
    output, source = tmp_path / "shards", corpus / "en.jsonl"
    with pytest.raises(WholewordError, match="--text-field"):
        support.build(output, source, text_fields=("absent",))
    plan = plan_build(support.options(output, source, validation_fraction=0.1))
    assert not state.is_finished(output, identity(plan))
    *_, manifest = run_build(plan)
    assert support.read_shards(output, manifest, "train").num_rows == manifest.parts["train"].rows
