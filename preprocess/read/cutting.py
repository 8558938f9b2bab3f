"""Input files to tasks: where files are cut, and which task reads what."""

import os
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import BinaryIO

from preprocess.addresses import is_address
from preprocess.places import map_concurrently
from preprocess.read.columns import row_groups
from preprocess.read.encodings import line_feed
from preprocess.read.ranges import opened_to_look
from preprocess.read.sources import InputFile, Split, Task, reading

_BY_LINE = ("text", "jsonl")
_STEP = 4096
"""Bytes looked at for the end of a line; a multiple of every encoding's unit."""


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
    size = used
    for splits in _cut_files(files, separator, split_size):
        for split in splits:
            other_part = pending and pending[0].file.part != split.file.part
            if other_part or (size and size + split.bytes > split_size):
                if pending:
                    tasks.append(Task(len(tasks), tuple(pending)))
                pending.clear()
                size = 0
            pending.append(split)
            size += split.bytes
    if pending:
        tasks.append(Task(len(tasks), tuple(pending)))
    return tasks


def _cut_files(
    files: list[InputFile], separator: str, split_size: int
) -> Iterable[Iterable[Split]]:
    """The splits of each file; of files at addresses, found while others are waited for."""
    if not any(is_address(file.path) for file in files):
        return (_cut_file(file, separator, split_size) for file in files)
    return map_concurrently(lambda file: list(_cut_file(file, separator, split_size)), files)


def _cut_file(file: InputFile, separator: str, split_size: int) -> Iterator[Split]:
    if not file.bytes:
        return
    if file.form == "parquet":
        yield from _group(file, row_groups(file), split_size)
        return
    feed = line_feed(file.encoding)
    whole = file.form not in _BY_LINE or (separator == "file" and file.form == "text")
    if file.compression or whole or feed is None or file.bytes <= split_size:
        yield Split(file, 0, file.bytes, file.bytes)
        return
    by_line = file.form == "jsonl" or separator == "line"
    cuts = [0]
    with reading(file), opened_to_look(file.path, file.bytes) as stream:
        while cuts[-1] + split_size < file.bytes:
            position = _next_boundary(stream, file, feed, cuts[-1] + split_size, by_line)
            cuts.append(min(position, file.bytes))
    if cuts[-1] < file.bytes:
        cuts.append(file.bytes)
    for begin, end in pairwise(cuts):
        yield Split(file, begin, end, end - begin)


def _group(file: InputFile, sizes: list[int], split_size: int) -> Iterator[Split]:
    """Consecutive pieces of a table, as many as make up `split_size`."""
    begin = size = 0
    for number, more in enumerate(sizes):
        if number > begin and size + more > split_size:
            yield Split(file, begin, number, size)
            begin, size = number, 0
        size += more
    if sizes:
        yield Split(file, begin, len(sizes), size)


def _next_boundary(
    stream: BinaryIO, file: InputFile, feed: bytes, position: int, by_line: bool
) -> int:
    """Where the first document after `position` begins (or a blank line before it)."""
    stream.seek(position - position % len(feed))
    _pass_line(stream, file, feed)  # the rest of a line
    if not by_line:
        while _pass_line(stream, file, feed) is False:
            pass
    return stream.tell()


def _pass_line(stream: BinaryIO, file: InputFile, feed: bytes) -> bool | None:
    """Go on to the next line; whether what was passed is blank, None at the end of the file."""
    blank = None
    while data := stream.read(_STEP):
        end = _find(data, feed) + len(feed)
        ended = end >= len(feed)
        line = data[:end] if ended else data
        blank = blank is not False and not line.decode(file.encoding, "replace").strip()
        if ended:
            stream.seek(end - len(data), os.SEEK_CUR)
            break
    return blank


def _find(data: bytes, feed: bytes) -> int:
    at = data.find(feed)
    while at >= 0 and at % len(feed):  # half of one character and half of the next
        at = data.find(feed, at + 1)
    return at
