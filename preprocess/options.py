"""The options of a build: one frozen dataclass."""

from dataclasses import dataclass

from preprocess.addresses import check_address, is_address
from preprocess.errors import WholewordError
from preprocess.format import MAX_LENGTH

SEPARATORS = ("line", "blank-line", "file")
ENCODERS = ("auto", "compiled", "library", "reference")
DEDUPS = ("none", "documents")
ENGINES = ("local", "ray")
MOST_MINUTES = 100_000


@dataclass(frozen=True)
class Slice:
    """What one of several commands does of a build: all whose number is `index` mod `count`."""

    index: int = 0
    count: int = 1

    def owns(self, number: int) -> bool:
        """Whether this slice does what has that number."""
        return number % self.count == self.index

    @property
    def is_whole(self) -> bool:
        """Whether there are no other slices."""
        return self.count == 1

    def __str__(self) -> str:
        """As it is given on the command line."""
        return f"{self.index}/{self.count}"


WHOLE = Slice()
"""The only slice."""


def parse_slice(text: str) -> Slice:
    """The slice that `I/N` names, I counted from 0.

    Raises:
        WholewordError: it is not of this form, or I is not below N.
    """
    index, _, count = text.partition("/")
    if not all(part.isascii() and part.isdecimal() and len(part) < 7 for part in (index, count)):
        raise WholewordError(f"--slice {text}: give I/N, such as 0/4 for the first of four")
    if int(index) >= int(count):
        raise WholewordError(
            f"--slice {text}: out of range; of {count} slices the first is 0/{count}"
            + (f" and the last {int(count) - 1}/{count}" if int(count) else "")
        )
    return Slice(int(index), int(count))


@dataclass(frozen=True)
class BuildOptions:
    """Every option of `build-shards`, as the command line gave it."""

    inputs: tuple[str, ...]
    """Paths, globs and folders of training text."""
    output: str
    """The folder that becomes the dataset."""
    tokenizer: str
    """A hub id or a folder."""
    segmenter: str = "auto"
    """What decides where words begin: `auto`, `jieba`, `whitespace`, `none` or a function."""
    user_dicts: tuple[str, ...] = ()
    """Paths of jieba user dictionaries."""
    hmm: bool = True
    """Whether jieba's HMM finds words that its dictionary lacks."""
    max_length: int = 512
    """Tokens of the longest row, special tokens included."""
    pairs: bool = False
    """Leave room for the special tokens of a pair of segments."""
    document_separator: str = "line"
    """What ends a document in a text file: one of `SEPARATORS`."""
    text_fields: tuple[str, ...] = ("text",)
    """The fields of a record that hold its text; a dot leads into one."""
    field_separator: str = "\n"
    """What stands between the texts of two fields."""
    encoding: str = "auto"
    """Encoding of text files; `auto` looks at the beginning of each."""
    strict: bool = False
    """Whether a record without text is an error, not left out and counted."""
    validation_fraction: float = 0.01
    """Share of documents held out by a hash of their text, where no validation input is named."""
    validation_inputs: tuple[str, ...] = ()
    """Paths, globs and folders of validation text."""
    test_inputs: tuple[str, ...] = ()
    """Paths, globs and folders of test text."""
    dedup: str = "none"
    """Which repetitions are left out: one of `DEDUPS`; `documents` keeps the first copy of each."""
    near_dedup: float | None = None
    """Leave out documents that have so large a share in common with an earlier one (Jaccard)."""
    min_chars: int | None = None
    """Leave out documents of fewer characters."""
    max_chars: int | None = None
    """Leave out documents of more characters."""
    filter: str | None = None
    """`package.module:function`: str -> bool, or str -> str | None."""
    append: bool = False
    """Add the inputs to the finished dataset in `output`."""
    split_size: int | None = None
    """Approximate bytes of input per task; None: derived from the size of the input."""
    workers: int | None = 1
    """Number of processes; None: one for each processor of a Ray cluster."""
    engine: str = "local"
    """Where tasks run: one of `ENGINES`."""
    ray_address: str = "auto"
    """Of the Ray cluster: `HOST:PORT`, or `auto` for the one that this machine belongs to."""
    slice: Slice = WHOLE
    """What this command does of the build, where others do the rest."""
    slice_wait: float = 30
    """Minutes in which other slices may make no progress before waiting for them ends."""
    encoder: str = "auto"
    """One of `ENCODERS`."""
    audit: int = 1000
    """Encode every Nth document with the reference too, and compare; 0: never."""

    def check(self) -> None:
        """Refuse values that no build can honour.

        Raises:
            WholewordError: naming the flag and its range.
        """
        if is_address(self.output):
            check_address(self.output, "--output", writes=True)
            if self.engine == "ray":
                raise WholewordError(
                    f"--engine ray: writes to disks that its nodes see, not to {self.output}; use "
                    "--slice on each machine"
                )
        if "\0" in self.output:
            raise WholewordError("--output: a folder's name cannot hold a NUL character")
        if self.output != self.output.encode(errors="replace").decode():
            raise WholewordError(f"--output {self.output!r}: the name is not UTF-8; use another")
        if not all(self.text_fields) or len({*self.text_fields}) < len(self.text_fields):
            raise WholewordError("--text-field: name each field once, and none by nothing")
        if not 8 <= self.max_length <= MAX_LENGTH:
            raise WholewordError(f"--max-length {self.max_length}: must be 8 to {MAX_LENGTH}")
        if not 0 <= self.validation_fraction < 1:
            raise WholewordError(
                f"--validation-fraction {self.validation_fraction}: must be at least 0 and below 1"
            )
        if self.document_separator not in SEPARATORS:
            raise WholewordError(
                f"--document-separator {self.document_separator}: use {', '.join(SEPARATORS)}"
            )
        if self.encoder not in ENCODERS:
            raise WholewordError(f"--encoder {self.encoder}: use {', '.join(ENCODERS)}")
        if self.engine not in ENGINES:
            raise WholewordError(f"--engine {self.engine}: use {', '.join(ENGINES)}")
        if self.engine != "ray" and self.ray_address != "auto":
            raise WholewordError(f"--ray-address {self.ray_address}: give --engine ray with it")
        if self.engine == "ray" and not self.slice.is_whole:
            raise WholewordError(
                "--engine ray: spreads the whole build over its cluster; give no --slice with it"
            )
        if not 0 <= self.slice_wait <= MOST_MINUTES:
            raise WholewordError(f"--slice-wait {self.slice_wait}: must be 0 to {MOST_MINUTES:,}")
        if self.dedup not in DEDUPS:
            raise WholewordError(f"--dedup {self.dedup}: use {', '.join(DEDUPS)}")
        if self.near_dedup is not None and not 0.1 <= self.near_dedup <= 1:
            raise WholewordError(f"--near-dedup {self.near_dedup}: must be 0.1 to 1")
        if (self.min_chars or 0) > (self.max_chars or self.min_chars or 0):
            raise WholewordError(
                f"--min-chars {self.min_chars}: is more than --max-chars {self.max_chars}"
            )
        for flag, value, least in (
            ("--workers", 1 if self.workers is None else self.workers, 1),
            ("--audit", self.audit, 0),
            ("--min-chars", 0 if self.min_chars is None else self.min_chars, 0),
            ("--max-chars", 1 if self.max_chars is None else self.max_chars, 1),
            ("--split-size", 1 if self.split_size is None else self.split_size, 1),
        ):
            if value < least:
                raise WholewordError(f"{flag} {value}: must be at least {least}")
