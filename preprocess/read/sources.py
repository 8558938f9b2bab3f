"""Input files to splits: what there is to read, and which task reads what.

A *split* is a byte range of a file, cut at document boundaries; a *task* is a run of consecutive
splits, about `--split-size` bytes. Both depend on the input alone, never on the number of workers.
A compressed file cannot be cut: it is one split.
"""

import glob
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from preprocess.errors import WholewordError
from preprocess.format import Part

FORMATS = (".txt", ".jsonl")
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}

TOKENIZER_FILES = ("vocab.txt", "merges.txt")
"""Names that look like text; they belong to a tokenizer whose configuration is in their folder."""


@dataclass(frozen=True)
class InputFile:
    """One file, as it was when the build was planned."""

    path: str
    bytes: int
    mtime_ns: int
    part: Part

    @property
    def compression(self) -> str:
        """`.gz`, `.zst` or nothing."""
        suffix = Path(self.path).suffix
        return suffix if suffix in COMPRESSIONS else ""

    @property
    def is_jsonl(self) -> bool:
        """Whether a line is a JSON object (else the file is plain text)."""
        return Path(self.path.removesuffix(self.compression)).suffix == ".jsonl"


@dataclass(frozen=True)
class Split:
    """Bytes `[begin, end)` of a file; of a compressed file, all of it."""

    file: InputFile
    begin: int
    end: int


@dataclass(frozen=True)
class Task:
    """What one worker does at a time: it makes one shard of each part."""

    number: int
    splits: tuple[Split, ...]
    begin: int | None = None
    """The number of its first document, where it goes on with a task of an earlier build."""

    @property
    def first_document(self) -> int:
        """The number of its first document in the dataset."""
        return self.number << 32 if self.begin is None else self.begin

    @property
    def part(self) -> Part:
        """The part of the dataset that the input was named for."""
        return self.splits[0].file.part

    @property
    def bytes(self) -> int:
        """Size of the input, compressed files as stored on disk."""
        return sum(split.end - split.begin for split in self.splits)


def find_inputs(patterns: tuple[str, ...], part: Part) -> list[InputFile]:
    """Files that paths, globs and folders name: in the order given, sorted within each, once each.

    Raises:
        WholewordError: something is missing, matches nothing, or has an unknown format.
    """
    paths: dict[str, None] = {}
    for pattern in patterns:
        paths.update(dict.fromkeys(_expand(pattern)))
    files = []
    for path in paths:
        files.append(_describe(path, part))
    if files and not sum(file.bytes for file in files):
        raise WholewordError(f"{', '.join(patterns)}: the input is empty; name files with text")
    return files


def tokenizer_files(patterns: tuple[str, ...]) -> list[str]:
    """What `find_inputs` leaves out of folders: a tokenizer's vocabulary is not text.

    Such a file is read if it is named itself.
    """
    folders = [pattern for pattern in patterns if os.path.isdir(pattern)]  # noqa: PTH112
    left_out = [path for folder in folders for path in _walk(folder) if _is_tokenizer_file(path)]
    return sorted({str(path) for path in left_out}.difference(patterns))


def _walk(folder: str) -> list[Path]:
    return [p for p in Path(folder).rglob("*") if p.is_file() and _is_known(p.name)]


def _is_tokenizer_file(path: Path) -> bool:
    beside = ("tokenizer.json", "tokenizer_config.json")
    return path.name in TOKENIZER_FILES and any((path.parent / name).exists() for name in beside)


def _describe(path: str, part: Part) -> InputFile:
    try:
        status = Path(path).stat()
        path.encode()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe could wait without end
            raise WholewordError(f"{path}: not a regular file; write the text to one")
        Path(path).open("rb").close()
    except OSError as error:
        raise WholewordError(
            f"{path}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    except UnicodeEncodeError as error:
        raise WholewordError(f"{path}: its name is not UTF-8; rename it") from error
    return InputFile(path, status.st_size, status.st_mtime_ns, part)


def _expand(pattern: str) -> list[str]:
    path = Path(pattern)
    if os.path.isdir(pattern):  # noqa: PTH112
        found = [str(p) for p in _walk(pattern) if not _is_tokenizer_file(p)]
        if not found:
            raise WholewordError(
                f"{pattern}: the folder holds no .txt or .jsonl file (or .gz, .zst of these); "
                "name the folder or the files with the text"
            )
        return sorted(found)
    if os.path.exists(pattern):  # noqa: PTH110 (pathlib's raises where a name is too long)
        if not _is_known(path.name):
            raise WholewordError(
                f"{pattern}: unknown format; use .txt or .jsonl, plain or compressed (.gz, .zst)"
            )
        return [pattern]
    if not glob.has_magic(pattern):
        raise WholewordError(f"{pattern}: no such file or folder; check --input")
    found = [
        name
        for name in glob.glob(pattern, recursive=True)  # noqa: PTH207 (absolute patterns too)
        if Path(name).is_file()
    ]
    known = sorted(name for name in found if _is_known(name))
    if not known:
        raise WholewordError(f"{pattern}: matches no .txt or .jsonl file; check the pattern")
    return known


def _is_known(name: str) -> bool:
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return name.endswith(FORMATS)


def default_split_size(files: list[InputFile]) -> int:
    """About 64 tasks, of 4 to 128 MiB: enough to share among workers, few enough to list."""
    total = sum(file.bytes for file in files)
    return min(max(total // 64, 4 << 20), 128 << 20)


def plan_tasks(
    files: list[InputFile], separator: str, split_size: int, used: int = 0
) -> list[Task]:
    """Cut the input into tasks of about `split_size` bytes; a task is all of one part.

    Args:
        files: in the order of the input.
        separator: as `BuildOptions.document_separator`.
        split_size: bytes of a task.
        used: bytes of the first task that were read before (of a dataset that is added to).
    """
    tasks: list[Task] = []
    pending: list[Split] = []
    pending_bytes = used

    def close() -> None:
        nonlocal pending_bytes
        if pending:
            tasks.append(Task(len(tasks), tuple(pending)))
            pending.clear()
        pending_bytes = 0

    for file in files:
        if pending and pending[0].file.part != file.part:
            close()
        for split in _cut_file(file, separator, split_size):
            if pending_bytes + split.end - split.begin > split_size:
                close()
            pending.append(split)
            pending_bytes += split.end - split.begin
    close()
    return tasks


def _cut_file(file: InputFile, separator: str, split_size: int) -> list[Split]:
    if file.bytes == 0:
        return []
    whole_document = separator == "file" and not file.is_jsonl
    if file.compression or whole_document or file.bytes <= split_size:
        return [Split(file, 0, file.bytes)]
    by_line = file.is_jsonl or separator == "line"
    cuts = [0]
    with reading(file), Path(file.path).open("rb") as stream:
        while cuts[-1] + split_size < file.bytes:
            cuts.append(_next_boundary(stream, cuts[-1] + split_size, file.bytes, by_line))
    if cuts[-1] < file.bytes:
        cuts.append(file.bytes)
    return [Split(file, begin, end) for begin, end in pairwise(cuts)]


def _next_boundary(stream: BinaryIO, position: int, size: int, by_line: bool) -> int:
    """Where the first document after `position` begins (or a blank line before it)."""
    stream.seek(position)
    stream.readline()  # the rest of a line
    while not by_line and (line := stream.readline()):
        if not line.decode("utf-8", "replace").strip():
            break
    return min(stream.tell(), size)


@contextmanager
def reading(file: InputFile) -> Iterator[None]:
    """Turn what reading a file can raise into one line with its name."""
    try:
        yield
    except OSError as error:
        raise WholewordError(
            f"{file.path}: cannot be read ({error.strerror or error}); run the same command "
            "again, or, once the file is mended, with --overwrite"
        ) from error
