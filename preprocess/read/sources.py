"""What there is to read: input files, and the splits and tasks that are made of them.

A *split* is a piece of a file, cut at document boundaries; a *task* is a run of consecutive splits,
about `--split-size` bytes. Both depend on the input alone, never on the number of workers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from preprocess.addresses import AddressError, is_address
from preprocess.errors import WholewordError
from preprocess.format import Part
from preprocess.places import Place, Stored, look_at
from preprocess.read.formats import Form


@dataclass(frozen=True)
class InputFile:
    """One file, as it was when the build was planned."""

    path: str
    bytes: int
    mtime_ns: int
    """At an address, what `Stored.mark` is."""
    part: Part
    form: Form = "text"
    encoding: str = "utf-8"
    """Python's name of it; of no meaning in a table."""

    compression: str = ""
    """Its suffix, or nothing."""


@dataclass(frozen=True)
class Split:
    """A piece `[begin, end)` of a file: row groups of Parquet, bytes of anything else.

    A file that cannot be cut (it is compressed, CSV, a JSON array, Arrow) is one split.
    """

    file: InputFile
    begin: int
    end: int
    bytes: int
    """Its share of the file's size."""


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
        return sum(split.bytes for split in self.splits)


def is_plain(file: InputFile) -> bool:
    """Whether the stored bytes are text in UTF-8 as they are."""
    return file.form == "text" and file.encoding == "utf-8" and not file.compression


def read_whole(file: InputFile) -> bytes:
    """All bytes of a small file.

    Raises:
        OSError: it cannot be read, or became shorter.
    """
    if is_address(file.path):
        data = Place(file.path).read_range(0, file.bytes)
    else:
        with open(file.path, "rb", buffering=0) as stream:  # noqa: PTH123 (there may be 200,000)
            data = stream.read(file.bytes)
    if len(data) < file.bytes:
        raise OSError(f"it became shorter: {file.bytes - len(data)} bytes are missing")
    return data


def check_unchanged(file: InputFile) -> None:
    """Look at the file again: what is read must be what was planned.

    Raises:
        WholewordError: it has another size or time, or is gone.
    """
    try:
        same = look_at(file.path) == Stored(file.bytes, file.mtime_ns)
    except OSError as error:
        if isinstance(error, AddressError) and not isinstance(error, FileNotFoundError):
            raise WholewordError(f"{error}; run the same command again") from error
        same = False
    if not same:
        raise WholewordError(
            f"{file.path}: changed while the build read it, and nothing of it is kept; when it is "
            "finished, build again with --overwrite"
        )


@dataclass(frozen=True)
class ReadOptions:
    """What decides which documents files hold."""

    separator: str = "line"
    """What ends a document of plain text: `line`, `blank-line` or `file`."""
    text_fields: tuple[str, ...] = ("text",)
    """Fields of a record with the text; a dot leads into one."""
    field_separator: str = "\n"
    """What stands between the texts of two fields."""
    strict: bool = False
    """Whether a record without text (missing, null, a number) is an error, not left out."""


@contextmanager
def reading(file: InputFile) -> Iterator[None]:
    """Turn what reading a file can raise into one line with its name."""
    try:
        yield
    except (OSError, EOFError) as error:
        check_unchanged(file)
        reason = getattr(error, "strerror", None) or error
        raise WholewordError(
            f"{file.path}: cannot be read ({reason}); run the same command again, or, once "
            "the file is mended, with --overwrite"
        ) from error
    except WholewordError:
        check_unchanged(file)  # which would be the cause
        raise
