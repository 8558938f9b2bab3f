"""`preview`: how a text is cut into words and tokens, without a build."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import tokenizers
from rich.markup import escape
from rich.table import Table

from preprocess.console import console
from preprocess.encode.auto_segmenter import choose_segmenter
from preprocess.encode.reference import ReferenceEncoder
from preprocess.encode.segmenters import make_segmenter, parse_segmenter, words_are
from preprocess.encode.tokenizer import load_backend
from preprocess.encode.tokenizer_cache import load_tokenizer_once
from preprocess.errors import WholewordError


@dataclass(frozen=True)
class Word:
    """What is masked together."""

    text: str
    tokens: list[str]
    ids: list[int]
    starts_sentence: bool


@dataclass(frozen=True)
class Cut:
    """A text as training will see it."""

    segmenter: str
    reason: str
    """Why it was chosen, where nobody named it."""
    tokenizer: str
    """Its kind."""
    unknown: str | None
    """Its unknown token."""
    words: list[Word]


def cut_text(
    text: str, tokenizer: str, segmenter: str, user_dicts: tuple[str, ...], hmm: bool
) -> Cut:
    """Cut a text with the reference encoder, which takes every tokenizer.

    Raises:
        WholewordError: an option is unusable, or there is no text.
    """
    text = text.encode("utf-8", "replace").decode()  # an argument may hold half a character
    if not text.strip():
        raise WholewordError("--text: holds no text; give a sentence")
    loaded = load_tokenizer_once(tokenizer)
    reason = ""
    if segmenter == "auto":
        has_options = bool(user_dicts) or not hmm
        segmenter, reason = choose_segmenter(
            [text], loaded.json, loaded.special.unk_id, has_options
        )
    spec = parse_segmenter(segmenter, user_dicts, hmm)
    encoded = ReferenceEncoder(loaded.json, spec).encode(pa.array([text], pa.large_string()))
    backend = load_backend(loaded.json)
    unk_id = loaded.special.unk_id
    text = make_segmenter(spec)(text).text
    spans = backend.encode(text, add_special_tokens=False).offsets
    bounds = [*np.flatnonzero(encoded.word_starts).tolist(), len(encoded.ids)]
    words = []
    for begin, end in pairwise(bounds):
        ids = encoded.ids[begin:end].tolist()
        covered = text[spans[begin][0] : spans[end - 1][1]]
        tokens = [_spell(backend, token) for token in ids]
        words.append(Word(covered, tokens, ids, bool(encoded.sentence_starts[begin])))
    unknown = None if unk_id is None else backend.id_to_token(unk_id)
    return Cut(segmenter, reason, loaded.kind, unknown, words)


def _spell(backend: tokenizers.Tokenizer, token: int) -> str:
    """A token as people read it: byte-level vocabularies write their entries in other letters."""
    entry = backend.id_to_token(token) or ""
    decoded: str = backend.decode([token], skip_special_tokens=False)
    readable = decoded.strip() and "\ufffd" not in decoded and not entry.startswith("##")
    return decoded if readable else entry


def show_cut(cut: Cut) -> None:
    """Print the words in a line, then each with its tokens."""
    why = f" ({cut.reason})" if cut.reason else ""
    words = words_are(cut.segmenter)
    console.print(f"words: [bold]{escape(words)}[/]{escape(why)}; tokens: {cut.tokenizer}")
    table = Table()
    table.add_column("word", style="cyan")
    table.add_column("tokens")
    table.add_column("ids", justify="right")
    for word in cut.words:
        style = "yellow" if cut.unknown in word.tokens else ""
        tokens, ids = " ".join(word.tokens), " ".join(map(str, word.ids))
        table.add_row(escape(word.text), escape(tokens), ids, style=style)
    console.print(table)
    tokens_count = sum(len(word.ids) for word in cut.words)
    unknown = sum(word.tokens.count(cut.unknown or "") for word in cut.words)
    console.print(f"{len(cut.words)} words, {tokens_count} tokens, {unknown} unknown")
