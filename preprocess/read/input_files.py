"""Input files: those that the command line names, with size, time, form and encoding."""

import os
import stat
from dataclasses import replace

from preprocess.errors import WholewordError
from preprocess.format import Part
from preprocess.places import Place, Stored, map_concurrently
from preprocess.read.encodings import SAMPLE_BYTES, UTF8, choose_encoding
from preprocess.read.folders import list_files
from preprocess.read.formats import TABLES, Form, compression_of, form_of
from preprocess.read.json_texts import is_json_lines
from preprocess.read.sources import InputFile, reading
from preprocess.read.streams import to_utf8_once, unpacked


def find_inputs(patterns: tuple[str, ...], part: Part, encoding: str = "auto") -> list[InputFile]:
    """The files that paths, globs and folders name, in the order of `list_files`.

    Raises:
        WholewordError: something is missing, matches nothing, is empty, or has an unknown format.
    """
    return describe_files(list_files(patterns).paths, part, encoding)


def describe_files(paths: dict[str, Stored | None], part: Part, encoding: str) -> list[InputFile]:
    """Size, time, form and encoding of each file, of which a listing may have said the first two.

    Raises:
        WholewordError: one cannot be read, or all are empty.
    """

    def describe(item: tuple[str, Stored | None]) -> InputFile:
        path, stored = item
        if stored is None:
            return _describe(path, part, encoding)
        return _describe_object(path, stored, part, encoding)

    remote = any(stored is not None for stored in paths.values())
    each = map_concurrently if remote else map
    files = list(each(describe, paths.items()))
    if files and not any(file.bytes for file in files):
        names = ", ".join(list(paths)[:3]) + (", ..." if len(paths) > 3 else "")
        raise WholewordError(f"{names}: the input is empty; name files with text")
    return files


def _describe(path: str, part: Part, asked: str) -> InputFile:
    form = form_of(path)
    assert form is not None
    try:
        path.encode()
        status = os.stat(path)  # noqa: PTH116 (there may be 200,000)
        if not stat.S_ISREG(status.st_mode):  # reading a pipe could wait without end
            raise WholewordError(f"{path}: not a regular file; write the text to one")
        compression = compression_of(path)
        looked_at = 0 if compression or form in TABLES else min(status.st_size, SAMPLE_BYTES)
        with open(path, "rb", buffering=0) as stream:  # noqa: PTH123
            sample = stream.read(looked_at)
    except OSError as error:
        raise WholewordError(
            f"{path}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    except UnicodeEncodeError as error:
        raise WholewordError(f"{path}: its name is not UTF-8; rename it") from error
    size, time = status.st_size, status.st_mtime_ns
    file = InputFile(path, size, time, part, form, compression=compression)
    return file if form in TABLES or not size else _look_inside(file, asked, sample)


def _describe_object(path: str, stored: Stored, part: Part, asked: str) -> InputFile:
    form = form_of(path)
    assert form is not None
    compression = compression_of(path)
    file = InputFile(path, stored.bytes, stored.mark, part, form, compression=compression)
    if form in TABLES or not stored.bytes or (asked == UTF8 and form != "json"):
        return file
    with reading(file):
        sample = b"" if compression else Place(path).read_range(0, min(file.bytes, SAMPLE_BYTES))
    return _look_inside(file, asked, sample)


def _look_inside(file: InputFile, asked: str, sample: bytes) -> InputFile:
    """The file with its encoding, and JSON lines as what they are where it is called `.json`."""
    if asked == UTF8 and file.form != "json":
        return file
    if file.compression:
        with reading(file):
            sample = _unpack_sample(file)
    encoding = choose_encoding(sample, asked)
    form: Form = file.form
    if form == "json" and is_json_lines(to_utf8_once(sample, encoding)):
        form = "jsonl"
    unchanged = (form, encoding) == (file.form, file.encoding)
    return file if unchanged else replace(file, form=form, encoding=encoding)


def _unpack_sample(file: InputFile) -> bytes:
    sample = b""
    for data, _ in unpacked(file, 0, file.bytes, SAMPLE_BYTES):
        sample += data
        if len(sample) >= SAMPLE_BYTES:
            break
    return sample[:SAMPLE_BYTES]
