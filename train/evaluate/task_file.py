"""A labelled task, read from a file: texts with labels, pairs of texts, or words with tags.

jsonl, csv (with quotes) and tsv (without) have a column for the text and one for the label; other
columns are ignored. CoNLL columns (.conll, .bio, .txt) have a word and its tag in the first and the
last column, and a blank line after each sentence.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import xxhash

from preprocess.errors import WholewordError
from train.evaluate.text_file import read_lines

Kind = Literal["classification", "pair", "tagging"]
_TAGGED = (".conll", ".bio", ".txt")
_TABLES = {".csv": ",", ".tsv": "\t"}
_LINES = (".jsonl", ".json")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_MOST_MEASURES = 50
"""Labels with a fraction that may still be classes, as 2.5 of 5 stars is."""
_FIELD_LIMIT = 1 << 26  # the csv module's own, 128 KiB, is less than a long document


@dataclass(frozen=True)
class Columns:
    """The names of a task file's columns."""

    text: str = "text"
    label: str = "label"
    pair: str | None = None
    """The second text of a task of pairs."""


@dataclass(frozen=True)
class Example:
    """One labelled text, as the file has it."""

    text: str
    """The text; of a tagged sentence, its words with spaces between them."""
    pair: str
    """The second text of a pair; else empty."""
    words: tuple[str, ...]
    """The words of a tagged sentence; else empty."""
    labels: tuple[str, ...]
    """One label, or one tag a word."""


@dataclass(frozen=True)
class Task:
    """A task, of one file or of one with a test file; sequences have one entry an example."""

    path: str
    kind: Kind
    texts: tuple[str, ...]
    pairs: tuple[str, ...]
    """Second texts; empty strings where the task has none."""
    words: tuple[tuple[str, ...], ...]
    """Words of tagged sentences; empty where the task has none."""
    labels: tuple[tuple[int, ...], ...]
    """Indices into `label_names`: one, or one a word."""
    label_names: tuple[str, ...]
    first_test: int
    """Index of the first example of the test file; the number of examples if there is none."""
    fingerprint: str
    """xxh3-128 of the files' bytes."""
    empty: int = 0
    """Examples left out because they have no text."""

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def classes(self) -> list[int]:
        """The label of every example; of a tagging task 0, since sentences have no class."""
        tagged = self.kind == "tagging"
        return [0 if tagged else labels[0] for labels in self.labels]


def read_task(path: Path, columns: Columns | None = None, test: Path | None = None) -> Task:
    """Read a task file, and its test file if there is one.

    Raises:
        WholewordError: a file is missing, empty or of an unknown kind, lacks a column, has a line
            that cannot be read, or all its texts have one label.
    """
    columns = columns or Columns()
    files = [path] if test is None else [path, test]
    parts = [_read_file(file, columns) for file in files]
    examples = [example for part, _ in parts for example in part]
    names = sorted({label for e in examples for label in e.labels}, key=_label_order)
    if len(names) < 2:
        raise WholewordError(
            f"{path}: every text has the label {names[0]!r}; a task needs two labels or more"
        )
    if len(names) > max(_MOST_MEASURES, len(examples) // 2) and any(map(_is_measure, names)):
        raise WholewordError(
            f"{path}: has {len(names):,} labels, such as {names[0]!r}; numbers that measure "
            "something are not supported: make classes of them"
        )
    index = {name: number for number, name in enumerate(names)}
    tagged = _kind(path, columns) == "tagging"
    if test is not None and tagged != (_kind(test, columns) == "tagging"):
        raise WholewordError(f"{test}: is of another kind than {path}; give both as one kind")
    return Task(
        path=str(path),
        kind=_kind(path, columns),
        texts=tuple(e.text for e in examples),
        pairs=tuple(e.pair for e in examples),
        words=tuple(e.words for e in examples),
        labels=tuple(tuple(index[label] for label in e.labels) for e in examples),
        label_names=tuple(names),
        first_test=len(parts[0][0]),
        fingerprint=xxhash.xxh3_128_hexdigest(b"\0".join(file.read_bytes() for file in files)),
        empty=sum(empty for _, empty in parts),
    )


def _label_order(name: str) -> tuple[int, str]:
    """Numbers by their size, before names by their spelling; no two names are alike."""
    is_number = name.isascii() and name.isdigit() and len(name) < 10
    return (int(name) if is_number else 1 << 40, name)


def _kind(path: Path, columns: Columns) -> Kind:
    suffix = path.suffix.lower()
    if suffix in _TAGGED:
        for option, default in asdict(Columns()).items():
            if getattr(columns, option) != default:
                raise WholewordError(
                    f"{path}: tagged words have no --{option}-column; leave it out"
                )
        return "tagging"
    if suffix in _COMPRESSED:
        raise WholewordError(f"{path}: is compressed; unpack it first")
    if suffix not in _TABLES and suffix not in _LINES:
        raise WholewordError(
            f"{path}: its name does not say what it is; name it .jsonl, .csv or .tsv, or .conll, "
            ".bio or .txt for tagged words"
        )
    return "classification" if columns.pair is None else "pair"


def _is_measure(label: str) -> bool:
    """Whether a label is a number with a fraction."""
    try:
        return not float(label).is_integer()
    except (ValueError, OverflowError):
        return False


def _read_file(path: Path, columns: Columns) -> tuple[list[Example], int]:
    """The examples of a file, and how many more have no text."""
    kind = _kind(path, columns)
    lines = read_lines(path, "a task file")
    if kind == "tagging":
        examples = list(_read_tagged(path, lines))
    else:
        suffix = path.suffix.lower()
        rows = _read_json(path, lines) if suffix in _LINES else _read_table(path, lines)
        wanted = {role: name for role, name in asdict(columns).items() if name is not None}
        examples = []
        for number, row in rows:
            _check_columns(path, number, row, wanted, is_first=not examples)
            examples.append(_example(path, number, row, wanted))
    full = [e for e in examples if e.text.strip() and (kind != "pair" or e.pair.strip())]
    if not full:
        raise WholewordError(f"{path}: holds no labelled text; name a file with a text a line")
    return full, len(examples) - len(full)


def _read_json(path: Path, lines: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _bad_line(path, number, f"not JSON ({error})") from None
        if not isinstance(row, dict):
            raise _bad_line(path, number, "not a JSON object")
        yield number, row


def _read_table(path: Path, lines: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(_FIELD_LIMIT)
    delimiter = _TABLES[path.suffix.lower()]
    source = (f"{line}\n" for line in lines)
    if delimiter == ",":
        reader = csv.reader(source, strict=True)
    else:
        reader = csv.reader(source, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    names: list[str] | None = None
    ended = 0  # the line with the end of the last row
    try:
        for fields in reader:
            ended = reader.line_num
            if not any(field.strip() for field in fields):
                continue
            if names is None:
                names = fields
                continue
            if len(fields) != len(names):
                cause = f"{len(fields)} columns where the first line has {len(names)}"
                raise _bad_line(path, reader.line_num, cause)
            yield reader.line_num, dict(zip(names, fields, strict=True))
    except csv.Error as error:
        if "end of data" in str(error):
            raise _bad_line(path, ended + 1, "a quote begins here and does not end") from None
        raise _bad_line(path, reader.line_num, str(error)) from None


def _check_columns(
    path: Path, number: int, row: dict[str, Any], wanted: dict[str, str], is_first: bool
) -> None:
    """Refuse a row without a column; `wanted` has the columns' names by what they hold."""
    for role, name in wanted.items():
        if name in row:
            continue
        if not is_first:
            raise _bad_line(path, number, f"has no {name!r}, which the lines above it have")
        raise WholewordError(
            f"{path}: line {number}: has no column {name!r}; its columns are "
            f"{', '.join(map(str, row))}; name yours with --{role}-column"
        )


def _example(path: Path, number: int, row: dict[str, Any], wanted: dict[str, str]) -> Example:
    """A row's texts, empty where it has none, and its label."""
    values = {}
    for role, name in wanted.items():
        value = "" if row[name] is None else row[name]
        if role == "label" and isinstance(value, int | float):
            value = str(value)
        if not isinstance(value, str):
            kind = "text or number" if role == "label" else "text"
            raise _bad_line(path, number, f"{name!r} holds no {kind}, but {json.dumps(value)[:40]}")
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise _bad_line(path, number, f"half a character (a lone surrogate) in {name!r}")
        values[role] = value
    label = values["label"].strip()
    if not label:
        raise _bad_line(path, number, f"no label in {wanted['label']!r}")
    return Example(values["text"], values.get("pair", ""), (), (label,))


def _read_tagged(path: Path, lines: list[str]) -> Iterator[Example]:
    words: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*lines, ""], start=1):
        fields = line.split("\t") if "\t" in line else line.split()
        fields = [field.strip() for field in fields]
        if not any(fields):
            if words:
                yield Example(" ".join(words), "", tuple(words), tuple(tags))
            words, tags = [], []
        elif fields[0] == "-DOCSTART-":
            continue
        elif len(fields) < 2 or not fields[0] or not fields[-1]:
            raise _bad_line(path, number, "a word without a tag")
        else:
            words.append(fields[0])
            tags.append(fields[-1])


def _bad_line(path: Path, number: int, cause: str) -> WholewordError:
    return WholewordError(f"{path}: line {number}: {cause}; mend or remove the line")
