import os
import time
from pathlib import Path

import pyarrow as pa
import pytest

from preprocess.errors import WholewordError
from preprocess.read.cutting import plan_tasks
from preprocess.read.folders import list_files
from preprocess.read.input_files import find_inputs
from preprocess.read.sources import InputFile


def test_tasks_cover_the_input_in_order_and_hold_one_part(tmp_path: Path) -> None:
    for name, lines in (("a.txt", 100), ("b.txt", 3), ("c.txt", 4), ("v.txt", 5)):
        (tmp_path / name).write_text("line of text\n" * lines)
    (tmp_path / "empty.txt").touch()
    files = [
        *find_inputs(tuple(str(tmp_path / f"{n}.txt") for n in ("a", "empty", "b", "c")), "train"),
        *find_inputs((str(tmp_path / "v.txt"),), "validation"),
    ]
    tasks = plan_tasks(files, "line", 130)
    assert [task.number for task in tasks] == list(range(len(tasks)))
    assert [task.part for task in tasks].count("validation") == 1
    assert all(len({split.file.part for split in task.splits}) == 1 for task in tasks)
    splits = [split for task in tasks for split in task.splits]
    for file in files:
        spans = [(split.begin, split.end) for split in splits if split.file == file]
        assert [0, *(end for _, end in spans)] == [*(begin for begin, _ in spans), file.bytes]
    assert sum(len(task.splits) for task in tasks) > len(tasks)  # small files share a task


def test_planning_takes_time_linear_in_the_files() -> None:
    files = [InputFile(f"{i}.txt", 10, 0, "train") for i in range(40_000)]
    begin = time.process_time()
    [task] = plan_tasks(files, "line", 1 << 20)
    assert len(task.splits) == len(files)
    assert time.process_time() - begin < 4  # quadratic, it took a minute


def test_inputs_are_found_in_order_and_once(tmp_path: Path) -> None:
    for name in ("b.txt", "a.jsonl.gz", "sub/c.txt.zst", "notes.md", "d.txt.lz4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        data = b"x"
        if name.endswith((".gz", ".zst")):
            data = pa.Codec("gzip" if name.endswith("gz") else "zstd").compress(data, asbytes=True)
        (tmp_path / name).write_bytes(data)
    patterns = (str(tmp_path / "b.txt"), str(tmp_path / "*"), str(tmp_path))
    found = [Path(file.path).name for file in find_inputs(patterns, "train")]
    assert found == ["b.txt", "a.jsonl.gz", "c.txt.zst"]


def test_a_tokenizer_in_a_folder_is_no_text_unless_it_is_named(tmp_path: Path) -> None:
    for name in ("text.txt", "vocab.txt", "bert/vocab.txt", "bert/tokenizer.json", "bert/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = [file.path for file in find_inputs((str(tmp_path),), "train")]
    assert found == [f"{tmp_path}/{name}" for name in ("bert/a.txt", "text.txt", "vocab.txt")]
    vocabulary = str(tmp_path / "bert" / "vocab.txt")
    reason = "a tokenizer's vocabulary"
    left_out = list_files((str(tmp_path),)).left_out
    assert left_out == dict.fromkeys([vocabulary, f"{tmp_path}/bert/tokenizer.json"], reason)
    assert vocabulary not in list_files((str(tmp_path), vocabulary)).left_out
    [named] = find_inputs((vocabulary,), "train")
    assert named.path == vocabulary


def test_unusable_inputs_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "nothing.txt").touch()
    os.mkfifo(tmp_path / "pipe.txt")
    for name, problem in (
        ("missing.txt", "no such file"),
        ("x" * 300 + ".txt", "no such file"),
        ("empty", "holds no file with text"),
        ("notes.md", "unknown format"),
        ("*.nope", "matches no"),
        ("nothing.txt", "empty"),
        ("pipe.txt", "not a regular file"),
    ):
        with pytest.raises(WholewordError, match=problem) as error:
            find_inputs((str(tmp_path / name),), "train")
        assert str(error.value).startswith(str(tmp_path / name))
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("x")
    with pytest.raises(WholewordError, match="its name is not UTF-8"):
        find_inputs((str(tmp_path),), "train")
