"""Where words begin in a document: by jieba, spaces, a user's function, or the tokenizer."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preprocess.cache import cache_folder
from preprocess.errors import WholewordError
from preprocess.read.unicode import is_han
from preprocess.user_function import call_function, load_function

if TYPE_CHECKING:
    import jieba

KINDS = ("jieba", "whitespace", "none", "custom")


@dataclass(frozen=True)
class SegmenterSpec:
    """Which segmenter, as plain data that is sent to workers."""

    kind: str
    """One of `KINDS`."""
    function: str = ""
    """`package.module:function`, a `str -> list[str]`, for `custom`."""
    user_dicts: tuple[str, ...] = ()
    """Paths of jieba user dictionaries, in the order in which they are loaded."""
    hmm: bool = True
    """Whether jieba's HMM finds words that its dictionary lacks."""


@dataclass(frozen=True)
class Segmentation:
    """One document, cut into words."""

    text: str
    """What is tokenized: the document, less the marks between words (`whitespace`)."""
    starts: frozenset[int] | None
    """Indices of the characters that begin a word; None where pre-tokens are the words."""
    counts: dict[str, int] = field(default_factory=dict)
    """What was repaired, by reason."""


Segmenter = Callable[[str], Segmentation]


def parse_segmenter(name: str, user_dicts: tuple[str, ...], hmm: bool) -> SegmenterSpec:
    """The spec for a `--segmenter` value other than `auto`.

    Raises:
        WholewordError: the name is unknown, or a dictionary is missing or malformed.
    """
    if name in KINDS and name != "custom":
        spec = SegmenterSpec(name, user_dicts=user_dicts, hmm=hmm)
    elif ":" in name:
        spec = SegmenterSpec("custom", function=name)
        load_function("--segmenter", name)
    else:
        raise WholewordError(
            f"--segmenter {name}: unknown; use auto, jieba, whitespace, none, or "
            "package.module:function"
        )
    if spec.kind != "jieba" and (user_dicts or not hmm):
        raise WholewordError(
            f"--segmenter {name}: --user-dict and --no-hmm belong to jieba; leave them out or use "
            "--segmenter jieba"
        )
    for path in user_dicts:
        _check_user_dict(path)
    return spec


def words_are(name: str) -> str:
    """What words are under a `--segmenter`, for people: `none` reads as if there were no words."""
    return "pre-tokens" if name == "none" else name


def make_segmenter(spec: SegmenterSpec) -> Segmenter:
    """The function that a spec names."""
    if spec.kind == "jieba":
        tokenizer = jieba_tokenizer(spec.user_dicts)
        return lambda text: _from_pieces(text, tokenizer.lcut(text, HMM=spec.hmm))
    if spec.kind == "custom":
        function = load_function("--segmenter", spec.function)
        return lambda text: _from_pieces(text, _call(spec.function, function, text))
    return _whitespace if spec.kind == "whitespace" else _pre_tokens


def jieba_tokenizer(user_dicts: tuple[str, ...]) -> "jieba.Tokenizer":
    """A private jieba: its default dictionary, then the user's; its cache is in our folder."""
    import logging

    import jieba

    jieba.setLogLevel(logging.WARNING)
    tokenizer = jieba.Tokenizer()
    tokenizer.tmp_dir = str(cache_folder("jieba"))
    tokenizer.initialize()
    for path in user_dicts:
        tokenizer.load_userdict(path)
    return tokenizer


def _call(name: str, function: Callable[[str], Any], text: str) -> list[str]:
    pieces = call_function("--segmenter", name, lambda text: list(function(text)), text)
    if not all(isinstance(piece, str) for piece in pieces):
        raise WholewordError(f"--segmenter {name}: must return a list of str; mend the function")
    return list(pieces)


def _from_pieces(text: str, pieces: list[str]) -> Segmentation:
    if "".join(pieces) != text:
        return Segmentation(text, None, {"segmenter_did_not_join": 1})
    starts = set()
    position = 0
    for piece in pieces:
        starts.add(position)
        position += len(piece)
    return Segmentation(text, frozenset(starts))


def _pre_tokens(text: str) -> Segmentation:
    return Segmentation(text, None)


def _whitespace(text: str) -> Segmentation:
    """Words are what white space separates; spaces between two Han characters are dropped."""
    runs = re.findall(r"\s+|\S+", text)
    kept: list[str] = []
    starts = set()
    length = 0
    for index, run in enumerate(runs):
        if not run.isspace():
            starts.add(length)
        elif 0 < index < len(runs) - 1 and _is_mark(runs[index - 1], run, runs[index + 1]):
            continue
        kept.append(run)
        length += len(run)
    return Segmentation("".join(kept), frozenset(starts))


def _is_mark(before: str, space: str, after: str) -> bool:
    return not space.strip(" ") and is_han(before[-1]) and is_han(after[0])


def _check_user_dict(path: str) -> None:
    """Jieba takes any line of UTF-8, and fails on other files without saying what to do."""
    try:
        Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise WholewordError(f"{path}: no such file; check --user-dict") from error
    except (OSError, ValueError) as error:
        raise WholewordError(
            f"{path}: cannot be read as UTF-8 ({error}); convert it, or check --user-dict"
        ) from error
