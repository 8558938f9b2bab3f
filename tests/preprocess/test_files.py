"""Files that are whole or absent."""

import errno
import json
import os
from pathlib import Path

import pytest

from preprocess import files


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "manifest.json"
    files.write_json(path, {"a": "中"})
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    with pytest.raises(KeyboardInterrupt), files.written(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "中"}
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.json"]


def test_bytes_and_name_are_on_disk(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync

    def spy(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    path = tmp_path / "a"
    with files.written(path) as temporary:
        temporary.write_bytes(b"whole")
    assert synced == [temporary, tmp_path]
    synced.clear()
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "b").write_bytes(b"")
    files.sync_tree(folder)
    assert set(synced) == {folder, folder / "inner", folder / "inner" / "b"}


def test_a_full_disk_leaves_no_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_no_two_write_into_one_temporary_file(tmp_path):
    with (
        files.written(tmp_path / "a", shared=True) as one,
        files.written(tmp_path / "a", shared=True) as other,
    ):
        assert one != other
        one.write_text("")
        other.write_text("")
