"""The tokenizer: what `AutoTokenizer` returns, reduced to what the build and the trainer need."""

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokenizers

from preprocess.errors import WholewordError
from preprocess.files import write_bytes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


HUB_SECONDS = 10
"""Seconds that the hub may take to answer."""


@dataclass(frozen=True)
class SpecialTokens:
    """The ids that surround rows, and those that masking must know about.

    A row is `prefix + A + suffix`; a pair is `prefix + A + middle + B + suffix`.
    """

    unk_id: int | None
    mask_id: int
    pad_id: int
    special_ids: tuple[int, ...]
    prefix: tuple[int, ...]
    middle: tuple[int, ...]
    suffix: tuple[int, ...]

    def overhead(self, pairs: bool) -> int:
        """Number of special tokens in a row (or, with `pairs`, in a pair)."""
        return len(self.prefix) + len(self.suffix) + (len(self.middle) if pairs else 0)


@dataclass(frozen=True)
class LoadedTokenizer:
    """A fast tokenizer as plain data: workers rebuild it without importing transformers."""

    json: str
    """`backend_tokenizer.to_str()`, without truncation and padding."""
    sha256: str
    """Of `json`."""
    kind: str
    """The model's type: `WordPiece`, `BPE`, `Unigram`, `WordLevel`."""
    vocab_size: int
    """The highest id plus one."""
    special: SpecialTokens
    files: dict[str, bytes]
    """What `save_pretrained` wrote: a folder of these is opened by `AutoTokenizer`."""
    name: str
    """The hub id or folder that it was loaded from."""

    @property
    def source(self) -> "PreTrainedTokenizerBase":
        """What `AutoTokenizer` returns for the name; takes seconds."""
        return _auto_tokenizer(self.name)

    def save(self, folder: Path) -> None:
        """Write a copy that `AutoTokenizer.from_pretrained` opens."""
        folder.mkdir(exist_ok=True)
        for name, data in self.files.items():
            write_bytes(folder / name, data, shared=True)


def load_backend(tokenizer_json: str) -> tokenizers.Tokenizer:
    """The Rust tokenizer for text of a corpus, in which no text ever becomes a special id.

    `encode_special_tokens` keeps added tokens from matching inside text. Where special tokens are
    pieces of the model too (Unigram's `<s>`), the pieces are renamed to text that does not occur,
    so that the model finds another way to spell them; all ids stay as they are.
    """
    backend = tokenizers.Tokenizer.from_str(json.dumps(corpus_description(tokenizer_json)))
    backend.encode_special_tokens = True
    return backend


@lru_cache(maxsize=2)
def describe_tokenizer(tokenizer_json: str) -> dict[str, Any]:
    """`tokenizer_json` parsed, once for all who ask at a start; shared, so nobody may change it."""
    description: dict[str, Any] = json.loads(tokenizer_json)
    return description


def corpus_description(tokenizer_json: str) -> dict[str, Any]:
    """What `load_backend` makes its tokenizer from: `tokenizer_json`, special tokens renamed."""
    description = describe_tokenizer(tokenizer_json)
    model = description["model"]
    names = {
        token["content"]: f"\U0010fffe{token['id']}\U0010ffff"
        for token in description["added_tokens"]
        if token["special"] and token["content"] != model.get("unk_token")
    }
    added = [
        {**token, "content": names.get(token["content"], token["content"])}
        for token in description["added_tokens"]
    ]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        renamed: Any = {names.get(piece, piece): i for piece, i in vocabulary.items()}
    else:
        renamed = [[names.get(piece, piece), score] for piece, score in vocabulary]
    changed = {"vocab": renamed}
    if "merges" in model:
        changed["merges"] = [merge for merge in model["merges"] if not _spells(merge, names)]
    return {**description, "added_tokens": added, "model": {**model, **changed}}


def _spells(merge: list[str] | str, names: dict[str, str]) -> bool:
    """Whether a merge of BPE uses or makes a special token (it may have learnt one from text)."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left in names or right in names or left + right in names


def special_literals(tokenizer_json: str) -> tuple[str, ...]:
    """Texts that a Unigram model would turn into special ids without `load_backend`."""
    description = describe_tokenizer(tokenizer_json)
    if description["model"]["type"] != "Unigram":
        return ()
    return tuple(t["content"] for t in description["added_tokens"] if t["special"])


def has_word_pieces(tokenizer_json: str) -> bool:
    """Whether pieces that continue a word are written with `##`."""
    model = describe_tokenizer(tokenizer_json)["model"]
    return bool(model.get("continuing_subword_prefix") == "##")


def vocab_size(tokenizer_json: str) -> int:
    """The highest id plus one."""
    return max(tokenizers.Tokenizer.from_str(tokenizer_json).get_vocab().values()) + 1


def load_tokenizer(name_or_path: str) -> LoadedTokenizer:
    """Load a hub id or a folder.

    Raises:
        WholewordError: nothing is there, it cannot be read, it has no fast version, or it lacks a
            mask or padding token.
    """
    source = _auto_tokenizer(name_or_path)
    backend = tokenizers.Tokenizer.from_str(source.backend_tokenizer.to_str())  # a copy of our own
    backend.no_truncation()
    backend.no_padding()
    text = backend.to_str()
    return LoadedTokenizer(
        json=text,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        kind=type(backend.model).__name__,
        vocab_size=vocab_size(text),
        special=_special_tokens(name_or_path, source, backend),
        files=_saved_files(source),
        name=name_or_path,
    )


def _saved_files(source: "PreTrainedTokenizerBase") -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        source.save_pretrained(folder)
        return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}


def hub_answers() -> bool:
    """Whether the Hugging Face hub can be reached, asked once.

    The libraries ask six times a file, for a minute in all, and print each failure.
    """
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
    except Exception:  # of the network, of the proxy, or offline mode
        return False
    return True


def _auto_tokenizer(name_or_path: str) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer  # 3 s: only here, never in a worker
    from transformers.utils import logging

    looks_local = os.path.exists(name_or_path) or name_or_path.startswith((".", "/", "~"))  # noqa: PTH110
    if looks_local and not Path(name_or_path).is_dir():
        raise WholewordError(
            f"{name_or_path}: not a tokenizer folder; give a folder with tokenizer.json or "
            "vocab.txt, or the id of a model on the Hugging Face hub"
        )
    logging.set_verbosity_error()
    try:
        local = looks_local or not hub_answers()
        source = AutoTokenizer.from_pretrained(name_or_path, local_files_only=local)
    except Exception as error:  # the library raises many kinds for one cause: it is not there
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WholewordError(
            f"{name_or_path}: the tokenizer cannot be loaded ({reason}); give a folder that "
            "AutoTokenizer opens, or a hub id that this machine can reach"
        ) from error
    if not getattr(source, "is_fast", False):
        raise WholewordError(
            f"{name_or_path}: only a slow tokenizer exists, without character offsets; convert "
            "it to a fast one (a folder with tokenizer.json)"
        )
    return source


def _special_tokens(name: str, source: Any, backend: tokenizers.Tokenizer) -> SpecialTokens:
    for role in ("mask_token_id", "pad_token_id"):
        if getattr(source, role) is None:
            raise WholewordError(
                f"{name}: the tokenizer has no {role.removesuffix('_id').replace('_', ' ')}, which "
                "masked language modelling needs; use a tokenizer of a masked language model, or "
                "make one with train-vocab"
            )
    prefix, middle, suffix = _template(backend)
    return SpecialTokens(
        unk_id=source.unk_token_id,
        mask_id=source.mask_token_id,
        pad_id=source.pad_token_id,
        special_ids=tuple(sorted(source.all_special_ids)),
        prefix=prefix,
        middle=middle,
        suffix=suffix,
    )


def _template(backend: tokenizers.Tokenizer) -> tuple[tuple[int, ...], ...]:
    """What the post-processor puts before, between and after: read off a pair that it encodes."""
    sample = _any_text(backend)
    encoding = backend.encode(sample, sample)
    text = [i for i, sequence in enumerate(encoding.sequence_ids) if sequence is not None]
    second = next(i for i in text if encoding.sequence_ids[i] == 1)
    last_of_first = max(i for i in text if i < second)
    ids = encoding.ids
    return (
        tuple(ids[: text[0]]),
        tuple(ids[last_of_first + 1 : second]),
        tuple(ids[text[-1] + 1 :]),
    )


def _any_text(backend: tokenizers.Tokenizer) -> str:
    """Text of at least one token; not every vocabulary knows `a`, or has an unknown token."""
    candidates = ["a", *sorted(backend.get_vocab())]
    return next(text for text in candidates if backend.encode(text, add_special_tokens=False).ids)
