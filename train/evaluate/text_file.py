"""A text file's lines, in the encoding that it has."""

from pathlib import Path

from preprocess.console import warn
from preprocess.errors import WholewordError
from preprocess.read.encodings import SAMPLE_BYTES, UTF8, choose_encoding
from preprocess.read.streams import to_utf8_once


def read_lines(path: Path, what: str, damaged: bool = False) -> list[str]:
    """The lines of a text file, without their ends; another encoding than UTF-8 is said.

    Args:
        path: the file.
        what: what a user should name instead of a file that is missing.
        damaged: replace bytes that are no text by U+FFFD, instead of refusing them.

    Raises:
        WholewordError: the file is missing, has bytes that are no text, or carriage returns alone
            as ends of its lines.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WholewordError(f"{path}: {error.strerror}; name {what}") from error
    encoding = choose_encoding(data[:SAMPLE_BYTES], "auto")
    text = _replaced(data, encoding) if damaged else _strict(path, data, encoding)
    if encoding != UTF8:
        warn(f"{path}: read as {encoding}")
    text = text.removeprefix("\ufeff")
    if "\n" not in text and text.strip().count("\r"):
        raise WholewordError(
            f"{path}: its lines end in carriage returns alone; convert it, for example with "
            "tr '\\r' '\\n'"
        )
    return [line.removesuffix("\r") for line in text.split("\n")]


def _replaced(data: bytes, encoding: str) -> str:
    return to_utf8_once(data, encoding).decode(errors="replace")


def _strict(path: Path, data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(encoding, "replace").count("\n") + 1
        found = "not UTF-8" if encoding == UTF8 else f"not {encoding}, as the rest of it is"
        raise WholewordError(
            f"{path}: line {line}: {found}; mend the line, or convert the file, such as by iconv "
            "-f GB18030 -t UTF-8"
        ) from error
