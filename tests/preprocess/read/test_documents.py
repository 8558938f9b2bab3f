import codecs
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from preprocess.errors import WholewordError
from preprocess.read import batches, streams
from preprocess.read.cutting import plan_tasks
from preprocess.read.documents import read_task
from preprocess.read.input_files import find_inputs
from preprocess.read.sources import ReadOptions

BOM = b"\xef\xbb\xbf"
LARGE = 1 << 40


def read(
    path: Path,
    separator: str = "line",
    split_size: int = LARGE,
    encoding: str = "auto",
    **options: Any,
) -> tuple[list[str], Counter[str]]:
    """All documents of a file, read split by split."""
    documents: list[str] = []
    counts: Counter[str] = Counter()
    bytes_read = 0
    tasks = plan_tasks(find_inputs((str(path),), "train", encoding), separator, split_size)
    for task in tasks:
        for batch in read_task(task, ReadOptions(separator, **options)):
            batch.documents.validate(full=True)
            documents += batch.documents.to_pylist()
            counts.update(batch.counts)
            bytes_read += batch.bytes_read
            assert len(batch.positions) == len(batch.documents)
            assert sum(source.documents for source in batch.sources) == len(batch.documents)
    assert bytes_read == path.stat().st_size
    return documents, counts


def read_bytes(folder: Path, data: bytes, separator: str = "line") -> list[str]:
    path = folder / "input.txt"
    path.write_bytes(data)
    return read(path, separator, encoding="utf-8")[0]


def expected(data: bytes, separator: str) -> list[str]:
    """The rule of lines and documents in plain Python."""
    pieces = data.removeprefix(BOM).split(b"\n")
    lines = [piece.removesuffix(b"\r") for piece in pieces[:-1]] + [p for p in pieces[-1:] if p]
    blank = [not line.decode("utf-8", "replace").strip() for line in lines]
    documents: list[list[bytes]] = [[]]
    if separator == "file":
        text = [i for i, is_blank in enumerate(blank) if not is_blank]
        documents = [lines[text[0] : text[-1] + 1]] if text else []
    else:
        for line, is_blank in zip(lines, blank, strict=True):
            if is_blank or separator == "line":
                documents.append([])
            if not is_blank:
                documents[-1].append(line)
    return [b"\n".join(lines).decode("utf-8", "replace") for lines in documents if lines]


# Pieces that meet at the edges of reads and splits: line ends, invalid UTF-8, white space.
_pieces = st.sampled_from(
    [
        *(b"a", b"bc", b" ", b"\n", b"\n", b"\n\n", b"\r\n", b"\r", b"\t", b"\0", b"\x0b", b"\x1c"),
        *(b"\xff", b"\xe4\xb8", b"\x80", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xc0\xaf", BOM),
        *(c.encode() for c in "中é😀\u3000\u2028\x85\xa0\u200b\u1680\ufffd"),
    ]
)
_data = st.lists(_pieces, max_size=60).map(b"".join)
_separators = st.sampled_from(["line", "blank-line", "file"])


@given(_data, _separators, st.integers(1, 60), st.integers(1, 40))
def test_documents_follow_the_rule_for_any_split_and_read(
    tmp_path_factory: pytest.TempPathFactory,
    data: bytes,
    separator: str,
    split_size: int,
    read_size: int,
) -> None:
    path = tmp_path_factory.mktemp("x") / "input.txt"
    path.write_bytes(data or b"\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "READ_BYTES", read_size)
        documents, counts = read(path, separator, split_size, "utf-8")
    assert documents == expected(data, separator)
    invented = "".join(documents).count("\ufffd") - data.count("\ufffd".encode())
    if separator == "line":  # elsewhere the blank lines left out may hold none, either
        assert counts["bytes_replaced"] == invented


@given(_data, _separators, st.integers(1, 60), st.integers(1, 15), st.integers(16, 40))
def test_cuts_of_long_documents_do_not_depend_on_splits_and_reads(
    tmp_path_factory: pytest.TempPathFactory,
    data: bytes,
    separator: str,
    split_size: int,
    read_size: int,
    longest: int,
) -> None:
    path = tmp_path_factory.mktemp("x") / "input.txt"
    path.write_bytes(data or b"\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "MAX_DOCUMENT_BYTES", longest)
        patch.setattr(streams, "READ_BYTES", longest - 1)
        at_once = read(path, separator, encoding="utf-8")
        patch.setattr(streams, "READ_BYTES", read_size)
        in_pieces = read(path, separator, split_size, "utf-8")
    assert in_pieces == at_once
    assert all(len(document.encode()) <= 3 * longest for document in at_once[0])
    if "\ufffd" not in data.decode("utf-8", "replace"):  # a cut parts invalid bytes otherwise
        assert _visible(at_once[0]) == _visible(expected(data, separator))


def _visible(documents: list[str]) -> str:
    return "".join("".join(documents).split())


@example([b"a\r", b"b"], "line")
@given(st.lists(_data, min_size=2, max_size=6), _separators)
def test_small_files_together_give_what_each_gives_alone(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], separator: str
) -> None:
    folder = tmp_path_factory.mktemp("x")
    wanted, counts, sources = [], Counter[str](), []
    for i, data in enumerate(contents):
        (folder / f"{i}.txt").write_bytes(data or b"\n")
        documents, more = read(folder / f"{i}.txt", separator, encoding="utf-8")
        wanted += documents
        counts += more
        sources.append((str(folder / f"{i}.txt"), len(documents)))
    [task] = plan_tasks(find_inputs((str(folder),), "train", "utf-8"), separator, LARGE)
    [batch] = read_task(task, ReadOptions(separator))
    assert batch.documents.to_pylist() == wanted  # (one that ends in a carriage return too)
    assert batch.counts == counts
    assert [(source.path, source.documents) for source in batch.sources] == sources
    invalid = sum("\ufffd" in data.decode("utf-8", "replace") for data in contents)
    assert sum(source.invalid > 0 for source in batch.sources) <= invalid
    for i, document in enumerate(wanted):
        path, place = batch.place(i)
        begin = int(place.removeprefix("byte "))
        found = Path(path).read_bytes()[begin:].decode("utf-8", "replace")
        assert found.replace("\r", "").startswith(document.split("\n")[0].replace("\r", ""))


_characters = st.sampled_from(
    [*"ab中一上\u0a00\u0a0a\ufeff😀é\u3000", " ", "\n", "\n", "\n\n", "\r\n"]
)


@example("a" * 8 + "\n" + "b" * 7, "gb18030", "line", 8, 30, b"\x810")  # half a character, "\n"
@given(
    st.lists(_characters, min_size=1, max_size=60).map("".join),
    st.sampled_from(["gb18030", "utf-16-le", "utf-16-be", "utf-32-le", "utf-16", "utf-32-be"]),
    st.sampled_from(["line", "blank-line"]),
    st.integers(1, 40),
    st.integers(1, 30),
    st.binary(max_size=3),
)
def test_encodings_do_not_depend_on_splits_and_reads(
    tmp_path_factory: pytest.TempPathFactory,
    text: str,
    encoding: str,
    separator: str,
    split_size: int,
    read_size: int,
    damage: bytes,
) -> None:
    path = tmp_path_factory.mktemp("x") / "input.txt"
    data = text.encode(encoding)
    middle = len(data) // 2 & ~3
    for content in (data, data[:middle] + damage + data[middle:]):
        path.write_bytes(content)
        at_once = read(path, separator, encoding=encoding)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(streams, "READ_BYTES", read_size)
            assert read(path, separator, split_size, encoding) == at_once
        if content is data:
            mark = "\ufeff" if encoding == "utf-16" else ""  # Python's writes one
            assert at_once[0] == expected((mark + text).encode(), separator)


@pytest.mark.parametrize("separator", ["line", "blank-line", "file"])
def test_only_a_line_feed_ends_a_line(tmp_path: Path, separator: str) -> None:
    text = "a\rb\u2028c\x85d\x0be\x0cf\x1cg"
    assert read_bytes(tmp_path, text.encode(), separator) == [text]


def test_one_carriage_return_before_a_line_feed_is_dropped(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, b"a\r\nb\r\r\nc\r") == ["a", "b\r", "c\r"]


def test_blank_lines_are_white_space_by_unicode(tmp_path: Path) -> None:
    blank = " \t\u3000\u00a0\u2003\x1f\u205f\u202f\u1680\x85"
    assert read_bytes(tmp_path, f"a\n{blank}\nb".encode(), "blank-line") == ["a", "b"]
    assert read_bytes(tmp_path, "a\n\u200b\nb".encode(), "blank-line") == ["a\n\u200b\nb"]


def test_every_white_space_character_is_known(tmp_path: Path) -> None:
    characters = [chr(c) for c in range(0x11000) if not 0xD800 <= c < 0xE000 and c != 10]
    path = tmp_path / "input.txt"
    path.write_bytes("".join(f"{c}\n" for c in characters).encode())
    wanted = [c for c in characters if not c.isspace()]
    assert read(path)[0] == ["\ufeff" if c == "\ufeff" else c for c in wanted]


def test_a_file_keeps_its_inner_blank_lines(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, b"\n a\n\n\nb\n \n", "file") == [" a\n\n\nb"]


def test_a_bom_is_dropped_at_the_beginning_only(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, BOM + b"a\n" + BOM + b"b") == ["a", "\ufeffb"]
    path = tmp_path / "input.jsonl.gz"
    path.write_bytes(gzip.compress(BOM + b'{"text": "a"}'))
    assert read(path)[0] == ["a"]


def test_invalid_utf8_is_replaced_as_python_does(tmp_path: Path) -> None:
    data = b"ok \xff\xfe \xe4\xb8 \xed\xa0\x80 \xf4\x90\x80\x80 \xc3( \xef\xbf\xbd end"
    path = tmp_path / "input.txt"
    path.write_bytes(data + b"\nfine\n")
    documents, counts = read(path, encoding="utf-8")
    assert documents == [data.decode("utf-8", "replace"), "fine"]
    assert counts["bytes_replaced"] == documents[0].count("\ufffd") - 1


def test_nul_bytes_are_text(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, b"a\0b\n\0\n") == ["a\0b", "\0"]


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".zst", zstd)])
def test_compressed_files(tmp_path: Path, suffix: str, compress) -> None:
    text = "".join(f"line {i} 中\n" for i in range(5000)).encode()
    path = tmp_path / f"input.txt{suffix}"
    path.write_bytes(compress(text[:1000]) + compress(b"") + compress(text[1000:]))
    assert read(path, split_size=100)[0] == text.decode().splitlines()
    whole = compress(text)
    for damaged in (whole[:-3], whole[: len(whole) // 2], b"not compressed at all" * 9):
        path.write_bytes(damaged)
        with pytest.raises(WholewordError, match=f"input.txt{suffix}: cannot be read"):
            read(path)


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "input.jsonl"
    rows = [{"body": "first\nsecond"}, {"body": " "}, {"body": "三", "text": 4}]
    path.write_bytes(b"\r\n".join(json.dumps(row).encode() for row in rows) + b"\n\n \n")
    documents, counts = read(path, text_fields=("body",))
    assert documents == ["first\nsecond", "三"]
    assert counts == {"blank_texts": 1, "blank_lines": 2}
    # A JSON line is a document always.
    assert read(path, "blank-line", 10, text_fields=("body",))[0] == documents


def test_half_characters_of_json_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "input.jsonl"
    path.write_text(r'{"text": "a\ud800b \ud83d\ude00 \udc00"}')
    documents, counts = read(path)
    assert documents == ["a\ufffdb 😀 \ufffd"]
    assert counts["bytes_replaced"] == 2


def test_what_only_pythons_parser_takes(tmp_path: Path) -> None:
    path = tmp_path / "input.jsonl"
    lines = [
        b'{"text": "a", "n": NaN}',
        b'{"text": "x", "text": "b"}',
        b'{"text": "c\xff\xe4\xb8d"}',
    ]
    path.write_bytes(b"\n".join(lines))
    documents, counts = read(path)
    assert documents == ["a", "b", "c\ufffd\ufffdd"]
    assert counts == {"bytes_replaced": 2}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"text": "cut off', "not a JSON object"),
        (b"[" * 100_000, "not a JSON object"),
        (b'{"n": ' + b"1" * 5000 + b"}", "not a JSON object"),
        (b'["text"]', "not a JSON object"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_bad_json_lines_are_named(
    tmp_path: Path, line: bytes, problem: str, compressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "READ_BYTES", 64)
    data = BOM + b'{"text": "x"}\r\n\n' * 20 + line + b'\n{"text": "y"}\n'
    path = tmp_path / ("input.jsonl.gz" if compressed else "input.jsonl")
    path.write_bytes(gzip.compress(data) if compressed else data)
    with pytest.raises(WholewordError, match=f"{path}:41: {problem}"):
        read(path, split_size=100)


def test_one_line_of_50_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "input.txt"
    path.write_bytes(b"short\n" + "中文ab".encode() * 6_250_000 + b"\nlast")
    documents, counts = read(path, split_size=1 << 20)
    assert [len(document) for document in documents] == [5, 25_000_000, 4]
    assert not counts["documents_cut"]


def test_documents_that_are_too_long_are_cut_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "READ_BYTES", 8)
    monkeypatch.setattr(batches, "MAX_DOCUMENT_BYTES", 10)
    path = tmp_path / "input.txt"
    path.write_text("中文中文\nok\n0123456789\n01234567890\n")  # 12, 2, 10 and 11 bytes
    assert read(path) == (
        ["中文中", "文", "ok", "0123456789", "0123456789", "0"],
        {"documents_cut": 2},
    )
    path.write_text("one\ntwo\nthree\n\nfour\n")
    assert read(path, "blank-line") == (["one\ntwo", "three", "four"], {"documents_cut": 1})
    path = tmp_path / "input.jsonl"
    path.write_text('{"text": "中文中文"}\n')
    with pytest.raises(WholewordError, match=r"input.jsonl:1: a line of more than"):
        read(path)


def test_a_file_that_becomes_shorter_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "input.txt"
    path.write_text("line\n" * 10)
    [task] = plan_tasks(find_inputs((str(path),), "train"), "line", LARGE)
    path.write_text("line\n")
    with pytest.raises(WholewordError, match=r"input.txt: changed while the build read it"):
        list(read_task(task, ReadOptions()))


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=6),
            st.text(max_size=3).map(lambda text: text.encode("utf-8", "surrogatepass")),
            st.sampled_from(
                [b"\xef\xbf\xbd", b"\xe4", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5", b"\xf0\x9f"]
            ),
        )
    ).map(b"".join)
)
def test_invalid_bytes_become_what_python_makes_of_them(data: bytes) -> None:
    replaced = 0

    def count(error: UnicodeError) -> tuple[str, int]:
        nonlocal replaced
        replaced += 1
        assert isinstance(error, UnicodeDecodeError)
        return "\ufffd", error.end

    codecs.register_error("count", count)
    offsets = np.array([0, len(data)], np.int64)
    documents, found = batches._valid(offsets, np.frombuffer(data, np.uint8))
    text = documents[0].as_py()
    assert text == data.decode("utf-8", "count") == data.decode("utf-8", "replace")
    assert sum(found) == replaced
