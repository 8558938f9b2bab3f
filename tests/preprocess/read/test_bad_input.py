"""Input that cannot be read: one line with the file, the place and the remedy."""

import gzip
import json
import os
import random
import resource
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preprocess.errors import WholewordError
from preprocess.read import batches, streams
from preprocess.read.columns import check_columns
from preprocess.read.cutting import plan_tasks
from preprocess.read.documents import read_task
from preprocess.read.input_files import find_inputs
from preprocess.read.sources import ReadOptions


def read(path: Path, split_size: int = 1 << 40, **options: Any) -> tuple[list[str], Counter[str]]:
    texts: list[str] = []
    counts: Counter[str] = Counter()
    for task in plan_tasks(find_inputs((str(path),), "train"), "line", split_size):
        for batch in read_task(task, ReadOptions(**options)):
            texts += batch.documents.to_pylist()
            counts.update(batch.counts)
    return texts, counts


def problem(path: Path, **options: Any) -> str:
    with pytest.raises(WholewordError) as error:
        read(path, **options)
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message.removeprefix(str(path))


# --- records without text


RECORDS = [{"text": "a"}, {"text": None}, {"text": 5}, {"text": ["x"]}, {"n": 1}, {"text": " "}]
COUNTS = {"null_texts": 1, "not_text": 2, "no_text_field": 1, "blank_texts": 1}


def write_records(path: Path, records: list[dict[str, Any]]) -> None:
    lines = [json.dumps(record) for record in records]
    whole = "\n".join(lines) if path.suffix == ".jsonl" else "[" + ",\n".join(lines) + "]"
    path.write_text(whole)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_records_without_text_are_counted(name: str, tmp_path: Path) -> None:
    write_records(tmp_path / name, RECORDS)
    assert read(tmp_path / name) == (["a"], COUNTS)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"text": None}, "the field 'text' is null; mend it, or leave out --strict"),
        ({"text": 5}, "the field 'text' holds a number, not text"),
        ({"text": ["x"]}, "the field 'text' holds a list, not text"),
        ({"n": 1}, "no field 'text' (it has n)"),
    ],
)
def test_records_without_text_are_an_error_where_strict(
    name: str, record: dict[str, Any], words: str, tmp_path: Path
) -> None:
    write_records(tmp_path / name, [{"text": "a"}, record])
    message = problem(tmp_path / name, strict=True)
    assert message.startswith(":2: ") and words in message


def test_nulls_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", None, "", "b", None]}), path)
    assert read(path) == (["a", "b"], {"null_texts": 2, "blank_texts": 1})
    assert "row 1, counted from 0: the field 'text' is null" in problem(path, strict=True)


def test_the_field_that_no_record_has(tmp_path: Path) -> None:
    for name, content in (("a.jsonl", '{"body": "x"}\n' * 3), ("a.json", '[{"body": "x"}]')):
        (tmp_path / name).write_text(content)
        message = problem(tmp_path / name)
        assert "no field 'text' (it has body); name one with --text-field" in message
    (tmp_path / "a.csv").write_text("id,body\n1,x\n")
    assert "the column 'text' is not in it; it has id, body; name" in problem(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("id;text\n1;x\n")
    assert "is not in it (what separates fields is a comma in" in problem(tmp_path / "a.csv")
    nested = [{"meta": {"title": "x"}, "n": 1, "body": "y", "many": ["z"]}]
    pq.write_table(pa.Table.from_pylist(nested), tmp_path / "a.parquet")
    message = problem(tmp_path / "a.parquet")
    assert "it has meta.title, body, n (int64), many (list<element: string>); name" in message
    for field in ("n", "many", "meta", "meta.n", "body.x"):
        assert f"the column '{field}' is" in problem(tmp_path / "a.parquet", text_fields=(field,))


def test_columns_are_looked_for_before_anything_is_read(tmp_path: Path) -> None:
    sink = pa.OSFile(str(tmp_path / "a.arrow"), "wb")
    with sink, pa.ipc.new_stream(sink, pa.schema([("text", pa.string())])):
        pass
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "b.parquet")
    (tmp_path / "c.txt").write_text("x\n")
    check_columns(find_inputs((str(tmp_path),), "train"), ("text",))
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "d.parquet")
    with pytest.raises(WholewordError, match=r"d\.parquet: the column 'text' is not in it; it h"):
        check_columns(find_inputs((str(tmp_path),), "train"), ("text",))
    with pytest.raises(WholewordError, match=r"a\.arrow: the column 'body'"):
        check_columns(find_inputs((str(tmp_path),), "train"), ("body",))


# --- malformed text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('a,text\n1,x\n2,"y\nz"\n3,a,b\n', ":5: 3 fields, but the first row has 2; put quotes"),
        ("a,text\n1\n", ":2: 1 fields, but the first row has 2"),
        ('a,text\n1,x\n2,"y\nz\n', ":3: not CSV (a quote that opens in this row is never closed)"),
        ('a,text\n1,"x"y\n', ":2: not CSV"),
        ("a,text\r1,x\r", ":1: not CSV (a carriage return outside quotes has no line feed beh"),
        ("text,text\nx,y\n", ": two columns are called 'text'"),
    ],
)
def test_bad_csv_names_the_line(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    assert words in problem(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            '[{"text": "a"},\n{"text": "b"}\n{"text": "c"}]',
            ":3: not JSON (a comma or ] is missing)",
        ),
        ('[{"text": "a"},\n {"text": }]', ":2: not JSON (Expecting value"),
        ('[{"text": "a"},\n {"text": "b"', ":2: not JSON ("),
        ('[{"text": "a"},\n"b"]', ":2: element 1 is not an object"),
        ('[{"text": "a"}] x', ":1: not JSON (something follows the array)"),
        ("plain text", ":1: neither a JSON array nor objects"),
    ],
)
@pytest.mark.parametrize("size", [7, 1 << 20])
def test_bad_json_names_the_line(
    content: str, words: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    monkeypatch.setattr(streams, "READ_BYTES", size)
    assert words in problem(path)


def test_objects_one_after_the_other_are_json_too(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{\n "text": "a"\n}\n{\n "text": "b"}\n')
    assert read(tmp_path / "a.json")[0] == ["a", "b"]
    (tmp_path / "a.json").write_text("[]\n")
    assert read(tmp_path / "a.json")[0] == []


# --- damaged files


def test_a_damaged_parquet_file_names_the_row_group(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"{i} {os.urandom(20).hex()}" for i in range(3000)]
    pq.write_table(
        pa.table({"text": texts}),
        path,
        row_group_size=1000,
        write_page_checksum=True,
        use_dictionary=False,
    )
    whole = path.read_bytes()
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    at = column.data_page_offset + column.total_compressed_size // 2
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
    assert ": row group 1: cannot be read (" in problem(path)
    for damaged in (whole[:-20], whole[:4], b"no such file at all"):
        path.write_bytes(damaged)
        assert ": cannot be read (" in problem(path)


def test_a_damaged_arrow_file_names_the_batch(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    rows = pa.table({"text": ["一二三"] * 3000})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=1000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert ": cannot be read (" in problem(path)
    offsets = np.arange(1001, dtype=np.int32)[:200].tobytes()
    first = whole.find((np.arange(200, dtype=np.int32) * 9).tobytes())
    assert first > 0
    path.write_bytes(whole[:first] + offsets[::-1] + whole[first + len(offsets) :])
    assert ": record batch 0: cannot be read (" in problem(path)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_any_damaged_table_is_read_or_one_line(name: str, tmp_path: Path) -> None:
    texts = pa.array([f"{i} 中文 text {i * 7919}" for i in range(200)])
    rows = pa.table({"id": range(200), "text": texts, "d": texts.dictionary_encode()})
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(rows, path, row_group_size=50)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows, max_chunksize=50)
    whole = path.read_bytes()
    draw = random.Random(5)
    lines = 0
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(draw.choice([1, 2, 8])):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data)
        try:
            read(path, 2000, text_fields=(draw.choice(["text", "d"]),))
        except WholewordError as error:
            assert str(error).startswith(str(path))
            lines += 1
    assert 10 < lines < 140


def test_bytes_that_are_no_utf8_in_a_table(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"text": pa.array([b"fine", b"bad \xff\xe4\xb8", "中".encode()])}), path
    )
    assert read(path) == (["fine", "bad \ufffd\ufffd", "中"], {"bytes_replaced": 2})


# --- too large


def test_a_record_too_long_is_an_error_and_a_text_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_DOCUMENT_BYTES", 100)
    monkeypatch.setattr(streams, "READ_BYTES", 30)
    long = "x" * 150
    (tmp_path / "a.jsonl").write_text('{"text": "ok"}\n' + json.dumps({"text": long}) + "\n")
    assert ":2: a line of more than" in problem(tmp_path / "a.jsonl")
    (tmp_path / "a.json").write_text(json.dumps([{"text": "ok"}, {"text": long}]))
    assert ":1: not JSON (" in problem(tmp_path / "a.json")
    (tmp_path / "a.csv").write_text('text\nok\n"' + "y\n" * 80 + '"\n')
    assert ":3: not CSV (a row of more than" in problem(tmp_path / "a.csv")
    pq.write_table(pa.table({"text": ["ok", long, "é" * 60]}), tmp_path / "a.parquet")
    cut = ["ok", "x" * 100, "x" * 50, "é" * 50, "é" * 10]
    assert read(tmp_path / "a.parquet") == (cut, {"documents_cut": 2})


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_large_batch_of_rows_comes_in_pieces(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "READ_BYTES", 1000)
    rows = pa.table({"text": [*["x" * 100] * 50, None, "中" * 1000, *["y"] * 50]})
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(rows, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
    [task] = plan_tasks(find_inputs((str(path),), "train"), "line", 1 << 40)
    found = list(read_task(task, ReadOptions()))
    assert max(batch.documents.nbytes for batch in found) < 8000
    assert sum(batch.bytes_read for batch in found) == path.stat().st_size
    documents = [text for batch in found for text in batch.documents.to_pylist()]
    assert documents == rows["text"].drop_null().to_pylist()
    positions = [row for batch in found for row in batch.positions.tolist()]
    assert positions == [*range(50), *range(51, 102)]


def test_a_bomb_of_one_line_runs_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wb", 1) as stream:
        stream.write(b'{"text": "')
        for _ in range(150):
            stream.write(b"a" * (1 << 20))
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert ":1: a line of more than 64 MiB" in problem(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 160 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10  # KiB


# --- files that change


@pytest.mark.parametrize("how", ["replaced", "overwritten", "removed"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.parquet"])
def test_a_file_that_changes_ends_the_build_in_a_line(
    how: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "READ_BYTES", 1000)
    path = tmp_path / name
    texts = [f"text number {i}" for i in range(2000)]
    if name == "a.txt":
        path.write_text("\n".join(texts))
    elif name == "a.jsonl":
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    else:
        pq.write_table(pa.table({"text": texts}), path)
    [task] = plan_tasks(find_inputs((str(path),), "train"), "line", 1 << 40)
    reading = read_task(task, ReadOptions())
    next(reading)
    content = path.read_bytes()
    if how == "overwritten":
        with path.open("r+b") as stream:
            stream.write(bytes(reversed(content)))
    else:
        path.unlink()
    if how == "replaced":
        (tmp_path / "new").write_bytes(content)
        (tmp_path / "new").rename(path)
    with pytest.raises(WholewordError, match=f"{path}: changed while the build read it"):
        next(reading)  # at once, not at the end


def test_a_change_at_the_end_of_the_task_is_noticed_too(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("text\n")
    [task] = plan_tasks(find_inputs((str(tmp_path),), "train"), "line", 1 << 40)
    reading = read_task(task, ReadOptions())
    assert len(next(reading).documents) == 2
    (tmp_path / "a.txt").write_text("TEXT\n")
    with pytest.raises(WholewordError, match=r"a.txt: changed while"):
        list(reading)
