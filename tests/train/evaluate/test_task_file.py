"""Task files: every kind read, and every mistake one line with its place."""

import json

import pytest

from preprocess.errors import WholewordError
from train.evaluate.task_file import Columns, read_task


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refuse(path, *words, columns=None, test=None):
    with pytest.raises(WholewordError) as caught:
        read_task(path, columns, test)
    for word in (path.name if test is None else test.name, *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_same_task_from_jsonl_csv_and_tsv(tmp_path):
    rows = [("good, very", "1"), ('a "quoted" one', "0"), ("三国", "10")]
    lines = [json.dumps({"text": text, "label": int(label)}) for text, label in rows]
    quoted = [f'"{text.replace(chr(34), chr(34) * 2)}",{label}' for text, label in rows]
    tasks = [
        read_task(write(tmp_path, "a.jsonl", "\ufeff" + "\n".join(lines) + "\n\n")),
        read_task(write(tmp_path, "a.csv", "text,label\r\n" + "\r\n".join(quoted))),
        read_task(
            write(tmp_path, "a.tsv", "text\tlabel\n" + "".join(f"{t}\t{n}\n" for t, n in rows))
        ),
    ]
    for task in tasks:
        assert task.kind == "classification"
        assert task.texts == tuple(text for text, _ in rows)
        assert task.label_names == ("0", "1", "10")
        assert task.labels == ((1,), (0,), (2,))
        assert task.first_test == 3


def test_labels_that_are_one_number_have_an_order(tmp_path):
    """Not that of a set, which is another in every process."""
    names = ["0", *("0" * zeros + "1" for zeros in range(8))]
    lines = [json.dumps({"text": name, "label": name}) for name in names]
    task = read_task(write(tmp_path, "a.jsonl", "\n".join(lines)))
    assert task.label_names == tuple(sorted(names))


def test_named_columns_pairs_and_a_test_file(tmp_path):
    columns = Columns("premise", "gold", "hypothesis")
    path = write(tmp_path, "a.csv", 'id,premise,hypothesis,gold\n1,"a\nb",c,yes\n2,d,e,no\n')
    test = write(tmp_path, "b.jsonl", '{"premise": "f", "hypothesis": "g", "gold": "no"}')
    task = read_task(path, columns, test)
    assert task.kind == "pair"
    assert task.texts == ("a\nb", "d", "f") and task.pairs == ("c", "e", "g")
    assert [task.label_names[label] for (label,) in task.labels] == ["yes", "no", "no"]
    assert task.first_test == 2


def test_tagged_words(tmp_path):
    text = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n \nPeter\tB-PER\n"
    task = read_task(write(tmp_path, "a.conll", text))
    assert task.kind == "tagging"
    assert task.words == (("EU", "rejects"), ("Peter",)) and task.texts[0] == "EU rejects"
    assert [[task.label_names[tag] for tag in tags] for tags in task.labels] == [
        ["B-ORG", "O"],
        ["B-PER"],
    ]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.jsonl", '{"text": "a", "stars": 1}', ["line 1", "'label'", "text, stars", "--label-c"]),
        ("a.csv", "body,label\na,1\nb,2\n", ["'text'", "body, label", "--text-column"]),
        ("a.jsonl", '{"text": "a", "label": 1}\n{oops', ["line 2", "not JSON"]),
        ("a.jsonl", "[1]", ["line 1", "not a JSON object"]),
        ("a.jsonl", '{"text": null, "label": 1}', ["no labelled text"]),
        ("a.jsonl", '{"text": ["a"], "label": 1}', ["line 1", "'text' holds no text", '["a"]']),
        ("a.jsonl", '{"text": "a", "label": ["b"]}', ["line 1", "holds no text or number"]),
        ("a.csv", "text,label\na,1\nb,\n", ["line 3", "no label in 'label'"]),
        (
            "a.jsonl",
            '{"text": "a", "label": 1}\n{"text": "b"}',
            ["line 2", "has no 'label', which the lines above it have"],
        ),
        (
            "a.csv",
            "text,label\n" + "".join(f"a{n},{n / 7}\n" for n in range(60)),
            ["60 labels", "make classes"],
        ),
        ("a.jsonl.gz", "x", ["is compressed", "unpack"]),
        ("a.jsonl", '{"text": "a", "label": null}', ["line 1", "no label in 'label'"]),
        ("a.jsonl", '{"text": "\\ud83d", "label": 1}', ["line 1", "half a character", "'text'"]),
        ("a.csv", "text,label\na,1\nb\n", ["line 3", "1 columns"]),
        ("a.csv", 'text,label\na,1\n"b,1\nc,2\n', ["line 3", "a quote begins here"]),
        ("a.conll", "EU B-ORG\nrejects\n", ["line 2", "without a tag"]),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": 1}', ["label '1'", "two"]),
        ("a.jsonl", "\n", ["no labelled text"]),
        ("a.csv", "text,label\n", ["no labelled text"]),
        ("a.parquet", "x", ["name does not say"]),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, name, text, words):
    refuse(write(tmp_path, name, text), *words)


SIMPLIFIED = ["患者主诉腹痛三天", "法院认为被告人有罪", "这本书的内容非常好", "手机屏幕坏了"]
TRADITIONAL = ["患者主訴腹痛三天", "法院認為被告人有罪", "這本書的內容非常好", "手機螢幕壞了"]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "conll"])
@pytest.mark.parametrize("encoding", ["gb18030", "big5", "utf-16", "utf-16-le", "utf-8-sig"])
def test_other_encodings_are_recognized(tmp_path, capsys, suffix, encoding):
    texts = (TRADITIONAL if encoding == "big5" else SIMPLIFIED) * 10
    lines = {
        "jsonl": [json.dumps({"text": t, "label": len(t)}, ensure_ascii=False) for t in texts],
        "csv": ["text,label", *(f'"{t}",{len(t)}' for t in texts)],
        "tsv": ["text\tlabel", *(f"{t}\t{len(t)}" for t in texts)],
        "conll": [f"{t}\t{len(t)}\n" for t in texts],
    }[suffix]
    path = tmp_path / f"a.{suffix}"
    path.write_bytes("\r\n".join(lines).encode(encoding))
    assert read_task(path).texts == tuple(texts)
    said = capsys.readouterr().err
    assert ("read as" in said) == (encoding != "utf-8-sig")


def test_damage_in_another_encoding_has_its_line(tmp_path):
    lines = [f"{text}\t{number % 2}" for number, text in enumerate(SIMPLIFIED * 30)]
    data = "\n".join(["text\tlabel", *lines]).encode("gb18030")
    place = data.index(b"\n", len(data) // 2) + 1
    path = tmp_path / "a.tsv"
    path.write_bytes(data[:place] + b"\xff" + data[place:])
    refuse(path, f"line {data[:place].count(10) + 1}: not gb18030")
    path = write(tmp_path, "b.tsv", "text\tlabel\ra\t1\rb\t2\r")
    refuse(path, "carriage returns")


def test_missing_files_and_bytes_that_are_no_text(tmp_path):
    refuse(tmp_path / "none.jsonl", "No such file")
    path = tmp_path / "gbk.jsonl"
    path.write_bytes(b'{"text": "a", "label": 1}\n' + '{"text": "三国"}'.encode("gbk"))
    refuse(path, "line 2", "not UTF-8")
    good = write(tmp_path, "a.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": 2}')
    refuse(good, "another kind", test=write(tmp_path, "b.conll", "EU B-ORG\n"))
    tagged = write(tmp_path, "c.bio", "EU B\na O\n")
    for option in ("pair", "text", "label"):
        refuse(tagged, f"no --{option}-column", columns=Columns(**{option: "x"}))


def test_examples_without_a_text_are_counted(tmp_path):
    rows = [{"text": t, "label": n} for n, t in enumerate(["a", None, " ", "b"])]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    task = read_task(path)
    assert (task.texts, task.label_names, task.empty) == (("a", "b"), ("0", "3"), 2)
    test = write(tmp_path, "b.jsonl", "\n".join(map(json.dumps, rows)))
    assert read_task(path, test=test).first_test == 2
