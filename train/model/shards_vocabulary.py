"""What a model must agree on with the tokens that it is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from preprocess.encode.tokenizer import LoadedTokenizer, SpecialTokens
from preprocess.write.manifest import Manifest, TokenizerEntry


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer and the longest row, as a model sees them."""

    folder: Path
    """The tokenizer, loadable by `AutoTokenizer`."""
    size: int
    """Its entries, added tokens included."""
    pad_id: int
    """Its padding token."""
    max_length: int
    """Tokens of the longest possible row, special tokens included."""
    first_id: int | None = None
    """The special token that every row begins with, `[CLS]` or `<s>`; None where there is none."""
    last_id: int | None = None
    """The one that every row ends with, `[SEP]` or `</s>`."""


def shards_vocabulary(folder: Path, manifest: Manifest) -> Vocabulary:
    """The vocabulary of the shards in `folder`."""
    entry = manifest.tokenizer
    return _vocabulary(folder / "tokenizer", entry.vocab_size, entry, manifest.max_length)


def tokenizer_vocabulary(tokenizer: LoadedTokenizer, max_length: int) -> Vocabulary:
    """The vocabulary of a tokenizer, for rows of at most `max_length` tokens."""
    size = tokenizer.vocab_size
    return _vocabulary(Path(tokenizer.name), size, tokenizer.special, max_length)


def _vocabulary(
    folder: Path, size: int, special: SpecialTokens | TokenizerEntry, max_length: int
) -> Vocabulary:
    return Vocabulary(
        folder=folder,
        size=size,
        pad_id=special.pad_id,
        max_length=max_length,
        first_id=next(iter(special.prefix), None),
        last_id=next(iter(reversed(special.suffix)), None),
    )
