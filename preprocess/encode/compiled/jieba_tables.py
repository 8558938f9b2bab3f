"""Tables for `compiled.jieba`, built from jieba itself: its dictionary, the user's, and its HMM."""

import importlib.metadata
import importlib.util
import math
import re
from pathlib import Path

import numpy as np

from preprocess.encode.compiled.jieba import ASCII, ASCII_SYMBOLS, NO_WORD, UNKNOWN_HAN, JiebaTables
from preprocess.encode.compiled.tables import Tables, cached_tables, content_key
from preprocess.encode.compiled.trie import build_trie
from preprocess.encode.segmenters import SegmenterSpec, jieba_tokenizer
from preprocess.errors import WholewordError

_HAN = range(0x4E00, 0x9FD6)
"""What jieba's regular expressions call Han."""
_BLOCK = re.compile("[\u4e00-\u9fd5a-zA-Z0-9+#&._%-]+")
"""What a word must be to occur in one of the pieces that jieba looks words up in."""
_STATES = "BEMS"
_LONGEST = 255
"""Lengths of words are kept in a byte."""


def load_jieba(segmenter: SegmenterSpec) -> JiebaTables:
    """The tables of a segmenter, from the cache if they are there; then jieba is not imported.

    Raises:
        WholewordError: a user dictionary holds a word of more than 255 characters.
    """
    arrays = cached_tables("jieba", _key(segmenter), lambda: _build(segmenter.user_dicts))
    return JiebaTables(
        symbols=arrays["symbols"],
        labels=arrays["labels"],
        bases=arrays["bases"],
        weights=arrays["weights"],
        forced=arrays["forced"],
        emissions=arrays["emissions"],
        transitions=arrays["transitions"],
        unknown_weight=float(arrays["unknown_weight"][0]),
        longest_word=int(arrays["longest_word"][0]),
        hmm=segmenter.hmm,
    )


def _key(segmenter: SegmenterSpec) -> str:
    """A hash of jieba's data and code, found without importing it, and of user dictionaries."""
    spec = importlib.util.find_spec("jieba")
    assert spec is not None and spec.origin is not None, "jieba is a dependency"
    folder = Path(spec.origin).parent
    own = [folder / "__init__.py", folder / "dict.txt", *sorted((folder / "finalseg").glob("*.py"))]
    return content_key(
        importlib.metadata.version("jieba").encode(),
        *(path.read_bytes() for path in own),
        *(Path(path).read_bytes() for path in segmenter.user_dicts),
    )


def _build(user_dicts: tuple[str, ...]) -> Tables:
    from jieba import finalseg

    others = set(finalseg.Force_Split_Words)  # the set is shared by all of jieba's tokenizers
    finalseg.Force_Split_Words.clear()
    tokenizer = jieba_tokenizer(user_dicts)
    forced = {word for word in finalseg.Force_Split_Words if _BLOCK.fullmatch(word)}
    finalseg.Force_Split_Words.update(others)
    frequencies = {
        word: frequency
        for word, frequency in tokenizer.FREQ.items()
        if frequency > 0 and _BLOCK.fullmatch(word)
    }
    longest = max(map(len, frequencies))
    if longest > _LONGEST:
        raise WholewordError(
            f"{', '.join(user_dicts)}: holds a word of {longest} characters; words have at most "
            f"{_LONGEST}, remove it or use --encoder reference"
        )
    return _arrays(frequencies, tokenizer.total, forced) | {
        "longest_word": np.array([longest], dtype=np.int64)
    }


def _arrays(frequencies: dict[str, int], total: int, forced: set[str]) -> Tables:
    from jieba import finalseg

    emitted = {character for state in _STATES for character in finalseg.emit_P[state]}
    han = {c for word in frequencies.keys() | forced for c in word} | emitted
    alphabet = sorted(c for c in han if ord(c) in _HAN)
    symbols = np.zeros(0x10000, dtype=np.uint16)
    symbols[_HAN] = UNKNOWN_HAN
    symbols[[ord(c) for c in ASCII]] = np.arange(ASCII_SYMBOLS) + 1
    symbols[[ord(c) for c in alphabet]] = np.arange(len(alphabet)) + UNKNOWN_HAN + 1
    words = sorted(frequencies.keys() | forced)
    spelling = {ord(c): chr(symbols[ord(c)]) for c in [*ASCII, *alphabet]}
    trie = build_trie([word.translate(spelling) for word in words])
    log_total = math.log(total)
    weights = np.full(len(trie.labels), NO_WORD)
    is_forced = np.zeros(len(trie.labels), dtype=bool)
    for word, cell in zip(words, trie.ends, strict=True):
        if word in frequencies:
            weights[cell] = math.log(frequencies[word]) - log_total
        is_forced[cell] = word in forced
    emissions = np.full((UNKNOWN_HAN + 1 + len(alphabet), 4), finalseg.MIN_FLOAT)
    for column, state in enumerate(_STATES):
        for character, value in finalseg.emit_P[state].items():
            if ord(character) in _HAN:
                emissions[symbols[ord(character)], column] = value
    rows = [*(finalseg.trans_P[state] for state in _STATES), finalseg.start_P]
    return {
        "symbols": symbols,
        "labels": trie.labels,
        "bases": trie.bases,
        "weights": weights,
        "forced": is_forced if forced else is_forced[:0],
        "emissions": emissions,
        "transitions": np.array([[p.get(b, finalseg.MIN_FLOAT) for b in _STATES] for p in rows]),
        "unknown_weight": np.array([math.log(1) - log_total]),
    }
