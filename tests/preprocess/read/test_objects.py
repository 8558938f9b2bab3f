import gzip
import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from preprocess.errors import WholewordError
from preprocess.read import ranges
from preprocess.read.cutting import plan_tasks
from preprocess.read.documents import read_task
from preprocess.read.folders import list_files
from preprocess.read.input_files import find_inputs
from preprocess.read.names import OTHER_SPLIT
from preprocess.read.ranges import RangeReader
from preprocess.read.sources import ReadOptions
from tests import object_store

TEXTS = [f"第{number}回 the text of document {number}" for number in range(400)]


def write_forms(folder: Path) -> None:
    lines = "".join(f"{text}\n" for text in TEXTS)
    records = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    (folder / "a.txt").write_text(lines)
    (folder / "b.jsonl").write_text(records)
    (folder / "c.txt").write_text(lines, encoding="gb18030")
    (folder / "d.txt.gz").write_bytes(gzip.compress(lines.encode()))
    table = pa.table({"number": list(range(len(TEXTS))), "text": TEXTS})
    pq.write_table(table, folder / "e.parquet", row_group_size=90)
    with pa.ipc.new_stream(str(folder / "f.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=90)
    (folder / ".hidden.txt").write_text("x\n")
    (folder / "notes.md").write_text("x\n")
    (folder / "_SUCCESS").touch()
    for number in range(5):
        (folder / "small").mkdir(exist_ok=True)
        (folder / "small" / f"{number}.txt").write_text(f"{TEXTS[number]}\r\n")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The same files in a folder and at an address."""
    folder = tmp_path_factory.mktemp("forms")
    write_forms(folder)
    object_store.upload(folder, "memory://forms/in")
    return folder, "memory://forms/in"


def read_all(pattern: str, split_size: int) -> tuple[list[list[str]], list[tuple[int, int]]]:
    """Documents of each task, and where its splits lie."""
    tasks = plan_tasks(find_inputs((pattern,), "train"), "line", split_size)
    texts = [
        [text for batch in read_task(task, ReadOptions()) for text in batch.documents.to_pylist()]
        for task in tasks
    ]
    return texts, [(split.begin, split.end) for task in tasks for split in task.splits]


@pytest.mark.parametrize("block", [1000, ranges.BLOCK])
def test_what_an_address_holds_is_read_as_a_folder_is(stored, block, monkeypatch):
    monkeypatch.setattr(ranges, "BLOCK", block)
    monkeypatch.setattr(RangeReader.__init__, "__defaults__", (block, 0))
    folder, address = stored
    assert read_all(address, 4000) == read_all(str(folder), 4000)
    assert len(read_all(f"{address}/a.txt", 4000)[0]) > 3  # it was cut
    assert len(read_all(f"{address}/e.parquet", 2000)[0]) > 1


def test_the_same_files_are_read_and_left_out(stored):
    folder, address = stored
    near, far = list_files((str(folder),)), list_files((address,))
    assert [path.removeprefix(str(folder)) for path in near.paths] == [
        path.removeprefix(address) for path in far.paths
    ]
    assert {path.removeprefix(str(folder)): why for path, why in near.left_out.items()} == {
        path.removeprefix(address): why for path, why in far.left_out.items()
    }


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("/a.txt", ["a.txt"]),
        ("/*.txt", ["a.txt", "c.txt"]),
        ("/**/[01].txt", ["small/0.txt", "small/1.txt"]),
        ("/sma*/4.txt", ["small/4.txt"]),
    ],
)
def test_globs(stored, pattern, names):
    _, address = stored
    assert list(list_files((address + pattern,)).paths) == [f"{address}/{name}" for name in names]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("/nothing.txt", "there is nothing of that name"),
        ("/*.csv", "there is nothing of that name"),
        ("/notes.md", "unknown format"),
    ],
)
def test_what_is_not_there_is_one_line(stored, pattern, words):
    with pytest.raises(WholewordError, match=words):
        list_files((stored[1] + pattern,))


def test_an_object_that_changes_is_noticed(tmp_path):
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/changing/a.txt", b"before\n" * 50)
    files = find_inputs(("memory://changing/a.txt",), "train")
    fs.pipe_file("/changing/a.txt", b"behind\n" * 50)  # of the same size
    with pytest.raises(WholewordError, match="changed while the build read it"):
        list(read_task(plan_tasks(files, "line", 1 << 20)[0], ReadOptions()))


class Hub(MemoryFileSystem):
    """The hub's file system, as far as addresses go."""

    protocol = "hf"
    store: dict = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("hf://", "memory://"))


def test_of_a_dataset_of_the_hub_the_train_split_is_read(monkeypatch, stored):
    monkeypatch.setitem(_registry, "hf", Hub)
    table = pa.table({"text": TEXTS[:10]})
    for name in ("train-00000-of-00001", "test-00000-of-00001", "validation-00000-of-00001"):
        with Hub().open(f"/datasets/org/name/data/{name}.parquet", "wb") as file:
            pq.write_table(table, file)
    Hub().pipe_file("/datasets/org/name/README.md", b"# card")
    listing = list_files(("hf://datasets/org/name",))
    base = "hf://datasets/org/name"
    assert list(listing.paths) == [f"{base}/data/train-00000-of-00001.parquet"]
    assert listing.left_out == {
        f"{base}/README.md": "of an unknown format",
        f"{base}/data/test-00000-of-00001.parquet": OTHER_SPLIT,
        f"{base}/data/validation-00000-of-00001.parquet": OTHER_SPLIT,
    }
    texts, _ = read_all(f"{base}/data/test-*.parquet", 1 << 20)  # named itself, it is read
    assert texts == [TEXTS[:10]]
