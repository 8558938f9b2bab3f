"""`manifest.json`: what was built, from what, and its checksums.

It holds no time and no host name, so that two builds of the same input with the same options are
the same bytes. The schema is checked when it is read, because the file may come from anywhere.
"""

import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from preprocess.addresses import AddressError
from preprocess.errors import WholewordError
from preprocess.files import write_json
from preprocess.format import MAX_LENGTH, PARTS, Part, id_dtype
from preprocess.write.shards import seal, unseal

FORMAT = 1
FILE = "manifest.json"


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\0" in path or len(pure.parts) != 2:
        raise ValueError("must name a file of a part's folder")
    return path


FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
Count = Annotated[int, Field(ge=0)]
Id = Annotated[int, Field(ge=0, lt=1 << 32)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TokenizerEntry(_Entry):
    """The tokenizer, and the special tokens that go around rows."""

    sha256: str
    kind: str
    vocab_size: Annotated[int, Field(ge=1, le=1 << 32)]
    unk_id: Id | None
    mask_id: Id
    pad_id: Id
    special_ids: tuple[Id, ...]
    prefix: tuple[Id, ...]
    middle: tuple[Id, ...]
    suffix: tuple[Id, ...]
    files: dict[FileName, str] = {}
    """xxh3-128 of each file of the copy in `tokenizer/`."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        around = (*self.special_ids, *self.prefix, *self.middle, *self.suffix)
        highest = max(self.mask_id, self.pad_id, self.unk_id or 0, *around, 0)
        if highest >= self.vocab_size:
            raise ValueError(f"the special id {highest} is not below vocab_size {self.vocab_size}")
        if self.mask_id == self.pad_id:
            raise ValueError("the mask and the padding token are the same")
        if len(set(self.special_ids)) >= self.vocab_size:
            raise ValueError("every id is special")
        return self


class SegmenterEntry(_Entry):
    """What decided where words begin."""

    name: str
    version: str
    dictionary_sha256: str
    hmm: bool


class InputEntry(_Entry):
    """One input file, by the path that the command line gave."""

    path: str
    bytes: Count
    part: Part
    encoding: str = "utf-8"


class ShardEntry(_Entry):
    """One shard of a part."""

    file: Annotated[str, AfterValidator(_inside)]
    rows: Count
    tokens: Count
    words: Count
    bytes: Count
    xxh3_128: str
    lengths_xxh3_64: str = ""
    """Of its rows' lengths in the index; none in a manifest of an older version."""


class PartEntry(_Entry):
    """One part of the dataset: its totals and its shards."""

    documents: Count
    rows: Count
    tokens: Count
    words: Count
    unknown: Count
    batches: Count
    index_xxh3_128: str
    batches_xxh3_128: str = ""
    """Of the index without row lengths; none in a manifest of an older version."""
    length_histogram: dict[int, Count]
    """Number of rows by length, in bins named by their lowest length."""
    shards: tuple[ShardEntry, ...]

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        for figure in ("rows", "tokens", "words"):
            total = sum(getattr(shard, figure) for shard in self.shards)
            if total != getattr(self, figure):
                raise ValueError(f"its {figure} are not the sum of its shards'")
        if not self.rows <= self.words <= self.tokens:
            raise ValueError("it has fewer tokens than words, or fewer words than rows")
        if len({shard.file for shard in self.shards}) != len(self.shards):
            raise ValueError("it lists a shard twice")
        return self


class Generation(_Entry):
    """What one command added: the first made the dataset, others appended to it."""

    inputs: Count
    """Files, in the order of `inputs`."""
    shards: Count
    """Shards of each part, in their order."""
    index_xxh3_128: str = ""
    """Of the training part's index as this command left it, so that a run knows what it read."""


class DroppedSample(_Entry):
    """The beginning of a document that was left out, and where it stood."""

    reason: str
    """A key of `counts`."""
    path: str
    place: str
    """Where in it, such as `byte 120` or `row 7`."""
    text: str


class WarningSign(_Entry):
    """What about a dataset may not be what its maker wanted."""

    sign: str
    """A few words; every sign of an earlier generation is judged anew."""
    text: str
    """What was seen, and the remedy."""


class Manifest(_Entry):
    """All of `manifest.json`."""

    format: Literal[1]
    tokenizer: TokenizerEntry
    segmenter: SegmenterEntry
    max_length: Annotated[int, Field(ge=1, le=MAX_LENGTH)]
    """Tokens of the longest possible row, special tokens included."""
    pairs: bool
    """Whether rows leave room for the special tokens of a pair."""
    options: dict[str, Any]
    """Every option that shaped the output."""
    inputs: tuple[InputEntry, ...]
    counts: dict[str, Count]
    """What was dropped or repaired, by reason."""
    dropped: tuple[DroppedSample, ...] = ()
    """Samples of what was left out."""
    distinct_texts: Count | None = None
    """Different documents among those that stayed, about."""
    unknown_characters: dict[str, Count] = {}
    """How often characters that the tokenizer lacks stood in a sample of the text."""
    warnings: tuple[WarningSign, ...] = ()
    generations: tuple[Generation, ...] = ()
    """Commands that added to the dataset; none in a manifest of an older version."""
    parts: dict[Part, PartEntry]

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        for name, part in self.parts.items():
            foreign = [s.file for s in part.shards if PurePosixPath(s.file).parts[0] != name]
            if foreign:
                raise ValueError(f"{foreign[0]} is listed in the {name} part")
        if self.max_row_tokens < 1:
            raise ValueError("max_length leaves no room for text")
        return self

    @property
    def id_dtype(self) -> np.dtype:
        """The type of `input_ids`: uint16 or uint32."""
        return id_dtype(self.tokenizer.vocab_size)

    @property
    def max_row_tokens(self) -> int:
        """Tokens of the longest possible row, special tokens not counted."""
        special = self.tokenizer
        middle = len(special.middle) if self.pairs else 0
        return self.max_length - len(special.prefix) - len(special.suffix) - middle


def read_manifest(folder: Path) -> Manifest:
    """Read and check a shards folder's manifest.

    Raises:
        WholewordError: it is missing, not JSON, of another format, or violates the schema.
    """
    path = folder / FILE
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WholewordError(
            f"{path}: missing, so {folder} holds no finished shards; run "
            "`python -m preprocess build-shards`"
        ) from error
    except AddressError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise WholewordError(f"{path}: cannot be read ({error}); build the shards again") from error
    if isinstance(value, dict) and value.get("format") != FORMAT:
        raise WholewordError(
            f"{path}: format {value.get('format')!r}, but this version reads {FORMAT}; build the "
            "shards again, or use the version that built them"
        )
    try:
        return Manifest.model_validate(unseal(value) if isinstance(value, dict) else value)
    except ValidationError as error:
        first = error.errors()[0]
        cause = first["msg"].removeprefix("Value error, ")
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise WholewordError(f"{path}: {place}: {cause}; build the shards again") from error
    except (ValueError, RecursionError) as error:
        raise WholewordError(f"{path}: cannot be used ({error}); build the shards again") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest: the last file of a build, whose presence says that it is whole."""
    value = manifest.model_dump(mode="json")
    value["parts"] = {part: value["parts"][part] for part in PARTS if part in value["parts"]}
    write_json(folder / FILE, seal(value), shared=True)
