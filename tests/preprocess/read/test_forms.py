"""The same documents through every form, compression and encoding."""

import bz2
import csv
import gzip
import io
import json
import lzma
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.encode.encoders import choose_encoder, make_encoder
from preprocess.encode.protocol import EncodedDocuments, EncoderSpec
from preprocess.encode.segmenters import parse_segmenter
from preprocess.encode.tokenizer import load_tokenizer
from preprocess.read import encodings, streams
from preprocess.read.batches import join_batches
from preprocess.read.cutting import plan_tasks
from preprocess.read.documents import read_task
from preprocess.read.input_files import find_inputs
from preprocess.read.sources import ReadOptions
from tests.preprocess import support

SPLIT_SIZE = 20_000


def _documents() -> list[str]:
    """1,000 documents: Chinese of the sample, with what tempts a reader of CSV, JSON and lines."""
    lines = [line for line in support.zh_text(150_000).split("\n") if line.strip()]
    pieces = [
        'a "quoted" word',
        "commas, and; semicolons",
        "tab\tinside",
        "back\\slash",
        "{brace",
        "'",
    ]
    draw = random.Random(7)
    documents = [f"{draw.choice(lines)[:120]} {draw.choice(pieces)} {i}" for i in range(1000)]
    documents[17] += "é" * 300
    return documents


DOCUMENTS = _documents()
MANY_LINES = [text.replace("，", "，\n", 1) for text in DOCUMENTS]
"""The same with line breaks, which a line cannot hold."""
Write = Callable[[Path, list[str]], None]


def text(encoding: str, newline: str = "\n", bom: str = "") -> Write:
    def write(path: Path, documents: list[str]) -> None:
        path.write_bytes((bom + "".join(d + newline for d in documents)).encode(encoding))

    return write


def json_lines(path: Path, documents: list[str]) -> None:
    path.write_text(
        "".join(json.dumps({"id": i, "text": d}) + "\n" for i, d in enumerate(documents))
    )


def json_array(path: Path, documents: list[str]) -> None:
    rows = [{"n": [1.5, None], "text": d} for d in documents]
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")


def separated(delimiter: str, encoding: str = "utf-8") -> Write:
    def write(path: Path, documents: list[str]) -> None:
        with path.open("w", newline="", encoding=encoding) as stream:
            writer = csv.writer(stream, delimiter=delimiter)
            writer.writerows([["label", "text"], *([i % 3, d] for i, d in enumerate(documents))])

    return write


def table(documents: list[str], kind: pa.DataType | None = None) -> pa.Table:
    column = pa.array(documents, pa.string()).cast(kind or pa.string())
    return pa.table({"id": range(len(documents)), "text": column})


def parquet(kind: pa.DataType | None = None, **options: Any) -> Write:
    return lambda path, documents: pq.write_table(table(documents, kind), path, **options)


def arrow(make: Callable[..., Any]) -> Write:
    def write(path: Path, documents: list[str]) -> None:
        rows = table(documents)
        with pa.OSFile(str(path), "wb") as sink, make(sink, rows.schema) as writer:
            writer.write_table(rows, max_chunksize=300)

    return write


def compressed(write: Write, compress: Callable[[bytes], bytes]) -> Write:
    def whole(path: Path, documents: list[str]) -> None:
        write(path, documents)
        data = path.read_bytes()
        path.write_bytes(compress(data[:5000]) + compress(data[5000:]))

    return whole


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


FORMS: dict[str, tuple[str, Write]] = {
    "text": ("a.txt", text("utf-8")),
    "text, CRLF": ("a.TXT", text("utf-8", "\r\n")),
    "text with a BOM": ("a.txt", text("utf-8", bom="\ufeff")),
    "JSON lines": ("a.jsonl", json_lines),
    "JSON lines named .json": ("a.json", json_lines),
    "JSON array": ("a.json", json_array),
    "CSV": ("a.csv", separated(",")),
    "TSV": ("a.tsv", separated("\t")),
    "CSV in GB18030": ("a.csv", separated(",", "gb18030")),
    "CSV in UTF-16": ("a.csv", separated(",", "utf-16")),
    "Parquet": ("a.parquet", parquet(row_group_size=150)),
    "Parquet, large_string, zstd": ("a.parquet", parquet(pa.large_string(), compression="zstd")),
    "Parquet, dictionary": (
        "a.parquet",
        parquet(pa.dictionary(pa.int32(), pa.string()), row_group_size=400),
    ),
    "Parquet, binary": ("a.parquet", parquet(pa.binary(), use_dictionary=False)),
    "Arrow file": ("a.arrow", arrow(pa.ipc.new_file)),
    "Arrow stream": ("a.arrow", arrow(pa.ipc.new_stream)),
    "text.gz": ("a.txt.gz", compressed(text("utf-8"), gzip.compress)),
    "text.bz2": ("a.txt.bz2", compressed(text("utf-8"), bz2.compress)),
    "text.xz": ("a.txt.XZ", compressed(text("utf-8"), lzma.compress)),
    "text.zst": ("a.txt.zst", compressed(text("utf-8"), zstd)),
    "GB18030.xz": ("a.txt.xz", compressed(text("gb18030"), lzma.compress)),
    "CSV.bz2": ("a.csv.bz2", compressed(separated(","), bz2.compress)),
    "JSON array.gz": ("a.json.gz", compressed(json_array, gzip.compress)),
}
# é is in neither Big5, Shift-JIS nor EUC-KR, and not every Han character in each: see below.
UNICODE = ["gb18030", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"]


@pytest.fixture(scope="module")
def encode() -> Callable[[pa.Array], EncodedDocuments]:
    tokenizer = load_tokenizer(support.TOKENIZER)
    segmenter = parse_segmenter("jieba", (), True)
    kind, _ = choose_encoder("compiled", tokenizer.json, segmenter)
    return make_encoder(EncoderSpec(tokenizer.json, segmenter, kind)).encode


def read(path: Path, encoding: str = "auto", **options: Any) -> pa.Array:
    def batches() -> Iterator[Any]:
        files = find_inputs((str(path),), "train", encoding)
        for task in plan_tasks(files, options.get("separator", "line"), SPLIT_SIZE):
            yield from read_task(task, ReadOptions(**options))

    return join_batches(list(batches())).documents


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_tokens(form: str, tmp_path: Path, encode) -> None:
    name, write = FORMS[form]
    path = tmp_path / name
    documents = MANY_LINES if "CSV" in form or "JSON" in form or "Parquet" in form else DOCUMENTS
    write(path, documents)
    found, wanted = encode(read(path)), encode(pa.array(documents, pa.large_string()))
    for name in ("ids", "word_starts", "sentence_starts", "offsets"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name))


@pytest.mark.parametrize("encoding", UNICODE)
@pytest.mark.parametrize("asked", ["auto", "NAME"])
def test_every_encoding_gives_the_same_documents(
    encoding: str, asked: str, tmp_path: Path, encode
) -> None:
    path = tmp_path / "a.txt"
    text(encoding, "\r\n")(path, DOCUMENTS)
    found = read(path, encoding if asked == "NAME" else asked)
    assert found.to_pylist() == DOCUMENTS


TEXTS = {
    "gbk": DOCUMENTS[100:200],
    "gb2312": ["患者主诉腹痛三天。", "法院认为，被告人有罪。"] * 300,
    "big5": ["臺灣的夏天很熱，大家都去海邊游泳。", "國立故宮博物院收藏文物。"] * 300,
    "shift_jis": ["吾輩は猫である。名前はまだ無い。", "どこで生れたかとんと見当がつかぬ。"] * 300,
    "euc_jp": ["吾輩は猫である。名前はまだ無い。", "どこで生れたかとんと見当がつかぬ。"] * 300,
    "euc_kr": ["계절이 지나가는 하늘에는", "가을로 가득 차 있습니다."] * 300,
    "latin-1": ["Les élèves étaient déjà là,", "où l'été s'achève; à côté, une forêt."] * 300,
    "utf-16-le": ["and the Word was made flesh,", "and dwelt among us. (John 1)"] * 300,
    "koi8-r": ["Все счастливые семьи похожи друг на друга,", "каждая несчастливая."] * 300,
}


@pytest.mark.parametrize("encoding", TEXTS)
@pytest.mark.parametrize("asked", ["auto", "NAME"])
def test_encodings_of_one_script(encoding: str, asked: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    text(encoding)(path, TEXTS[encoding])
    assert read(path, encoding if asked == "NAME" else asked).to_pylist() == TEXTS[encoding]


def test_latin_1_is_exact(tmp_path: Path) -> None:
    data = bytes(byte for byte in range(256) if byte not in b"\r\n")
    (tmp_path / "a.txt").write_bytes(data + b"\n")
    assert read(tmp_path / "a.txt", "latin-1").to_pylist() == [data.decode("latin-1")]


def test_rows_are_counted_from_the_beginning_of_their_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table(DOCUMENTS[:90]), path, row_group_size=20)
    tasks = plan_tasks(find_inputs((str(path),), "train"), "line", 2000)
    assert len(tasks) > 2
    batches = [batch for task in tasks for batch in read_task(task, ReadOptions())]
    assert [row for batch in batches for row in batch.positions.tolist()] == list(range(90))


def test_an_encoding_with_a_state_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    text("iso2022_jp", "")(path, ["\n".join(TEXTS["shift_jis"])])
    assert path.stat().st_size > SPLIT_SIZE
    monkeypatch.setattr(streams, "READ_BYTES", 1001)
    assert read(path, "iso2022_jp").to_pylist() == TEXTS["shift_jis"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "gb18030"])
def test_a_sample_that_ends_inside_a_character(encoding: str) -> None:
    data = support.ZH_SAMPLE.read_text(encoding="utf-8").encode(encoding)
    for begin in (0, 4, 40):
        sample = data[begin : begin + encodings.SAMPLE_BYTES]
        assert encodings.choose_encoding(sample, "auto") == encoding


def test_damaged_bytes_do_not_hide_an_encoding() -> None:
    for encoding, texts in TEXTS.items():
        data = "\n".join(texts).encode(encoding)
        at = data.index(b"\n", len(data) // 2)
        name = encodings.choose_encoding(data[:at] + b"\xff\xff" + data[at:], "auto")
        assert data.decode(name, "replace").split("\n")[:50] == texts[:50]
    text = "天下大势，分久必合。\n" * 100
    data = text.encode()
    assert encodings.choose_encoding(data + b"\xff" * 50 + b"\n" + data, "auto") == "utf-8"


@pytest.mark.parametrize("parts", [1, 2])
def test_a_folder_that_datasets_saved(parts: int, tmp_path: Path) -> None:
    data = datasets.Dataset.from_dict({"text": DOCUMENTS, "label": [1] * len(DOCUMENTS)})
    if parts == 2:
        test = datasets.Dataset.from_dict({"text": ["not to be read"], "label": [0]})
        data = datasets.DatasetDict(train=data, test=test)
    data.save_to_disk(str(tmp_path / "saved"), **({"num_shards": 3} if parts == 1 else {}))
    assert read(tmp_path / "saved").to_pylist() == DOCUMENTS


def test_fields_nested_by_dots_and_joined(tmp_path: Path) -> None:
    rows = [
        {"title": "甲", "meta": {"body": "first\nsecond", "n": 1}, "a.b": "dotted"},
        {"title": None, "meta": {"body": "only body", "n": 2}, "a.b": "x"},
        {"title": "only title", "meta": {"body": "", "n": 3}, "a.b": "y"},
        {"title": None, "meta": None, "a.b": None},
    ]
    columns = pa.Table.from_pylist(rows)
    pq.write_table(columns, tmp_path / "a.parquet")
    sink = pa.OSFile(str(tmp_path / "a.arrow"), "wb")
    with sink, pa.ipc.new_stream(sink, columns.schema) as writer:
        writer.write_table(columns)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    for name in ("a.parquet", "a.arrow", "a.jsonl", "a.json"):
        path = tmp_path / name
        assert read(path, text_fields=("meta.body",)).to_pylist() == ["first\nsecond", "only body"]
        assert read(path, text_fields=("a.b",)).to_pylist() == ["dotted", "x", "y"]
        joined = read(path, text_fields=("title", "meta.body"), field_separator=" | ").to_pylist()
        assert joined == ["甲 | first\nsecond", "only body", "only title"]


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=12),
    st.sampled_from(["a.csv", "a.tsv", "a.json", "a.jsonl", "a.parquet", "a.arrow"]),
    st.booleans(),
    st.integers(1, 50),
)
def test_any_texts_come_back_whatever_is_read_at_once(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    name: str,
    ascii_only: bool,
    size: int,
) -> None:
    path = tmp_path_factory.mktemp("x") / name
    if name == "a.json":
        rows = [{"n": {"text": 1}, "text": text} for text in texts]
        path.write_text(json.dumps(rows, ensure_ascii=ascii_only, indent=1), encoding="utf-8")
    elif name == "a.jsonl":
        lines = [json.dumps({"text": text}, ensure_ascii=ascii_only) for text in texts]
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    elif name == "a.parquet":
        pq.write_table(table(texts), path, row_group_size=3)
    elif name == "a.arrow":
        arrow(pa.ipc.new_file if ascii_only else pa.ipc.new_stream)(path, texts)
    else:
        separated("," if name == "a.csv" else "\t")(path, texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "READ_BYTES", size)
        assert read_all(path) == [text for text in texts if text.strip()]


def read_all(path: Path) -> list[str]:
    if not path.stat().st_size:
        return []
    tasks = plan_tasks(find_inputs((str(path),), "train", "utf-8"), "line", 60)
    batches = [batch for task in tasks for batch in read_task(task, ReadOptions())]
    assert sum(batch.bytes_read for batch in batches) == path.stat().st_size
    return [text for batch in batches for text in batch.documents.to_pylist()]


def test_csv_fields_are_joined(tmp_path: Path) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["n", "title", "body"], [1, "甲", 'a "b"\r\nc'], [2, "", "d"]])
    (tmp_path / "a.csv").write_text(out.getvalue() + "\n", newline="")
    found = read(tmp_path / "a.csv", text_fields=("title", "body"), field_separator="\t")
    assert found.to_pylist() == ['甲\ta "b"\r\nc', "d"]
