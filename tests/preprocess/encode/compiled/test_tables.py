import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from preprocess.encode.compiled.tables import Tables, cached_tables, content_key

EXPECTED: Tables = {
    "empty": np.zeros(0, np.uint16),
    "matrix": np.arange(12, dtype=np.float64).reshape(3, 4),
    "flags": np.array([True, False, True]),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHOLEWORD_CACHE", str(tmp_path))
    return tmp_path / "tables"


def _build() -> Tables:
    return dict(EXPECTED)


def _never() -> Tables:
    raise AssertionError("built again")


def _check(tables: Tables) -> None:
    assert list(tables) == list(EXPECTED)
    for name, array in tables.items():
        assert array.dtype == EXPECTED[name].dtype
        assert np.array_equal(array, EXPECTED[name])
        assert not array.flags.writeable


def test_tables_are_built_once(folder: Path) -> None:
    _check(cached_tables("some", "key", _build))
    _check(cached_tables("some", "key", _never))
    assert [path.suffix for path in folder.iterdir()] == [".tables"]


def test_other_keys_are_other_tables() -> None:
    cached_tables("some", "key", _build)
    with pytest.raises(AssertionError, match="built again"):
        cached_tables("some", "other", _never)
    assert content_key(b"ab", b"c") != content_key(b"a", b"bc")


@pytest.mark.parametrize("damage", ["empty", "short", "torn", "flipped"])
def test_a_damaged_file_is_built_again(folder: Path, damage: str) -> None:
    cached_tables("some", "key", _build)
    (path,) = folder.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[: {"empty": 0, "short": 5, "torn": len(content) // 2}.get(damage)])
    _check(cached_tables("some", "key", _build))
    _check(cached_tables("some", "key", _never))


def test_tables_that_cannot_be_written_are_used_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    _check(cached_tables("some", "key", _build))
    assert not list(folder.iterdir())


def _race(barrier: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    _check(cached_tables("some", "key", _build))


def test_two_builders_at_once_do_no_harm(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    processes = [context.Process(target=_race, args=(barrier,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(list(folder.iterdir())) == 1
    _check(cached_tables("some", "key", _never))
