import json
import os
from pathlib import Path

import pytest

from preprocess.errors import WholewordError
from preprocess.read.folders import list_files
from preprocess.read.input_files import find_inputs
from preprocess.read.input_report import input_lines
from preprocess.read.names import OTHER_SPLIT, OWN_FILE
from preprocess.run.plan import plan_build
from tests.preprocess import support


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}" if name.endswith(".json") else "x\n")


def listed(folder: Path) -> tuple[list[str], dict[str, str]]:
    listing = list_files((str(folder),))
    paths = [os.path.relpath(path, folder) for path in listing.paths]
    return paths, {os.path.relpath(path, folder): why for path, why in listing.left_out.items()}


def test_what_a_folder_holds_is_read_or_left_out_with_a_reason(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    make(folder, "a.txt", "B.TXT", "c.JSONL", "d.csv", "e.parquet", "AA/wiki_00", "notes.md")
    make(
        folder, "._a.txt", "__MACOSX/a.txt", ".ipynb_checkpoints/a.txt", "_SUCCESS", "x.parquet.gz"
    )
    make(
        folder, "bert/vocab.txt", "bert/tokenizer.json", "_delta_log/0.json", "out/.build/plan.json"
    )
    make(tmp_path / "elsewhere", "linked.txt")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    (folder / "dangling.txt").symlink_to(tmp_path / "nowhere")
    (folder / "itself.txt").symlink_to(folder / "itself.txt")
    (folder / "empty.txt").touch()
    os.mkfifo(folder / "pipe.txt")
    found, left_out = listed(folder)
    assert found == ["B.TXT", "a.txt", "c.JSONL", "d.csv", "e.parquet", "link/linked.txt"]
    assert left_out == {
        "AA/wiki_00": "without a suffix: text is called .txt",
        "notes.md": "of an unknown format",
        "x.parquet.gz": "of an unknown format",
        "._a.txt": "hidden",
        "__MACOSX": "a program's own file",
        ".ipynb_checkpoints": "hidden",
        "_SUCCESS": "a program's own file",
        "_delta_log": "a program's own file",
        "bert/vocab.txt": "a tokenizer's vocabulary",
        "bert/tokenizer.json": "a tokenizer's vocabulary",
        "out": "shards of a build",
        "loop": "a link to a folder that is read already",
        "dangling.txt": "a link that leads nowhere",
        "itself.txt": "a link that leads nowhere",
        "empty.txt": "empty",
        "pipe.txt": "a pipe or device",
    }


def test_both_are_said_in_a_line(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "b.txt", "c.jsonl", ".h.txt", "n.md", "m.md", "o.md", "p.md")
    (tmp_path / "z.txt").write_text("患者主诉腹痛三天。\n" * 20, encoding="gb18030")
    files = find_inputs((str(tmp_path),), "train")
    lines = input_lines(files, list_files((str(tmp_path),)).left_out, [])
    assert len(lines) == 3
    assert lines[0] == "input: 0.0 MB in 4 files (3 plain text, 1 jsonl)"
    (alone,) = input_lines(find_inputs((str(tmp_path / "a.txt"),), "train"), {}, [])
    assert alone == "input: 0.0 MB in 1 file (plain text)"
    names = ", ".join(f"{tmp_path}/{name}.md" for name in "mno")
    assert lines[1].startswith(f"left out: {tmp_path}/.h.txt (hidden); {names} and 1 more (of an ")
    assert lines[2] == f"read as gb18030: {tmp_path}/z.txt"


def test_a_name_that_is_no_utf8_is_said_as_well_as_can_be(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.md")).touch()
    listing = list_files((str(tmp_path),))
    _, line = input_lines(find_inputs((str(tmp_path),), "train"), listing.left_out, [])
    assert line.startswith(f"left out: {tmp_path}/?.md (of an unknown format)")


def test_links_to_the_same_folder_are_entered_once(tmp_path: Path) -> None:
    make(tmp_path, "real/a.txt", "real/b/c.txt")
    (tmp_path / "again").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "b" / "up").symlink_to(tmp_path / "real")
    found, left_out = listed(tmp_path)
    assert found == ["again/a.txt", "again/b/c.txt"]
    assert set(left_out.values()) == {"a link to a folder that is read already"}


def test_of_a_dataset_dict_the_train_split_is_read(tmp_path: Path) -> None:
    make(tmp_path, "train/data.arrow", "train/cache-1.arrow", "train/old.arrow", "test/data.arrow")
    (tmp_path / "train" / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    found, left_out = listed(tmp_path)
    assert found == ["train/data.arrow"]
    assert left_out["test"] == OTHER_SPLIT
    assert left_out["train/cache-1.arrow"] == left_out["train/old.arrow"] == OWN_FILE
    assert listed(tmp_path / "test")[0] == ["data.arrow"]
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["test", "more"]}))
    assert listed(tmp_path)[0] == ["test/data.arrow", "train/data.arrow"]


def test_of_a_folder_of_the_hub_the_train_split_is_read(tmp_path: Path) -> None:
    train = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002-a09b74b3.parquet"]
    other = ["data/test-00000-of-00001.parquet", "data/validation.clean-00000-of-00001.parquet"]
    parts = ["parts/part-00000-of-00002.txt", "parts/test-00000-of-00002.txt"]  # without train
    make(tmp_path, *train, *other, *parts, "data/more.txt")
    found, left_out = listed(tmp_path)
    assert found == ["data/more.txt", *train, *parts]
    assert left_out == dict.fromkeys(other, OTHER_SPLIT)


def test_a_split_that_is_read_for_another_part_is_not_called_left_out(tmp_path: Path) -> None:
    make(tmp_path, *(f"{name}-00000-of-00001.txt" for name in ("train", "test", "validation")))
    own = {"validation_inputs": (f"{tmp_path}/./test-00000-of-00001.txt",)}
    plan = plan_build(support.options(tmp_path / "out", tmp_path, **own))
    assert plan.left_out == {f"{tmp_path}/validation-00000-of-00001.txt": OTHER_SPLIT}


def test_what_is_named_itself_is_read_or_an_error(tmp_path: Path) -> None:
    make(tmp_path, ".hidden.txt", "vocab.txt", "tokenizer.json", "wiki_00")
    for name in (".hidden.txt", "vocab.txt"):
        assert list(list_files((str(tmp_path / name),)).paths) == [str(tmp_path / name)]
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    for name, problem in (
        ("wiki_00", "unknown format; use .txt, .jsonl"),
        ("loop.txt", "a link that leads nowhere"),
        ("pipe.txt", "not a regular file"),
    ):
        with pytest.raises(WholewordError, match=f"{name}: {problem}"):
            find_inputs((str(tmp_path / name),), "train")
