"""Where derived data is kept: in folders that nobody else can write to."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from preprocess import kernels
from preprocess.cache import _new_folder, cache_folder
from tests.preprocess import support


@pytest.fixture
def no_home(tmp_path, monkeypatch):
    """A cache that cannot be made, so that the temporary directory serves."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WHOLEWORD_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _new_folder.cache_clear()
    yield tmp_path / f"wholeword-{os.getuid()}"
    _new_folder.cache_clear()


def test_the_temporary_folder_is_this_users_alone(no_home):
    folder = cache_folder("jieba")
    assert folder == no_home / "jieba"
    assert no_home.stat().st_mode & 0o777 == folder.stat().st_mode & 0o777 == 0o700


def test_a_parent_that_others_may_write_to_is_not_used(no_home):
    no_home.mkdir()
    no_home.chmod(0o777)
    assert no_home not in cache_folder("jieba").parents


def test_a_link_in_the_parents_place_is_not_followed(no_home, tmp_path):
    (tmp_path / "theirs").mkdir(mode=0o700)
    no_home.symlink_to(tmp_path / "theirs")
    assert tmp_path / "theirs" not in cache_folder("jieba").resolve().parents


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_parent_of_somebody_else_is_not_used(no_home):
    no_home.mkdir(mode=0o700)
    os.chown(no_home, 12345, 12345)
    assert no_home not in cache_folder("jieba").parents


def test_a_new_folder_serves_the_whole_process_and_its_children(no_home, monkeypatch):
    """A child recognises its parent's choice by the name, and does not compile again."""
    no_home.write_text("not a folder")
    name = f"numba-{kernels._sources_hash()}"
    folder = cache_folder(name)
    assert folder.name == name
    assert cache_folder(name) == folder
    assert folder.parent == cache_folder("jieba").parent
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder))
    assert kernels._choose_cache() == folder


def test_a_users_own_numba_folder_holds_one_for_each_state_of_the_sources(tmp_path):
    """Numba notices no edit in a callee elsewhere: its folder must be named by the sources."""
    ask = "import os; import preprocess.kernels; print(os.environ['NUMBA_CACHE_DIR'])"
    child = (
        f"import subprocess, sys; {ask}; "
        f"print(subprocess.check_output([sys.executable, '-c', {ask!r}], text=True))"
    )
    said = subprocess.run(
        [sys.executable, "-c", child],
        cwd=support.REPOSITORY,
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert said == [str(tmp_path / f"numba-{kernels._sources_hash()}")] * 2


@pytest.mark.parametrize("given", ["file", "file/inner"])
def test_an_unusable_numba_folder_gives_way_to_ours(tmp_path, monkeypatch, given):
    """Numba itself would take `__pycache__`, in which kernels of other sources may be."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / given))
    monkeypatch.setenv("WHOLEWORD_CACHE", str(tmp_path / "ours"))
    assert kernels._choose_cache() == tmp_path / "ours" / f"numba-{kernels._sources_hash()}"


def test_kernels_of_old_sources_are_removed_after_a_month(tmp_path):
    current, old, recent = (tmp_path / f"numba-{name}" for name in ("current", "old", "recent"))
    for folder in (current, old, recent, tmp_path / "jieba"):
        folder.mkdir()
    month = time.time() - 31 * 24 * 3600
    for folder in (current, old, tmp_path / "jieba"):
        os.utime(folder, (month, month))
    kernels._remove_unused(current)
    assert {path.name for path in tmp_path.iterdir()} == {current.name, recent.name, "jieba"}
    assert time.time() - current.stat().st_mtime < 100
    kernels._remove_unused(Path("/nowhere/numba-x"))


def test_only_sources_with_kernels_count_for_the_hash():
    """Otherwise every edit would recompile all kernels, which takes half a minute."""
    for name in ("preprocess/encode/segmenters.py", "preprocess/encode/tokenizer_cache.py"):
        assert "preprocess.kernels import" not in (support.REPOSITORY / name).read_text()
