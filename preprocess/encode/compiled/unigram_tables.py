"""Tables for `unigram`, built from a tokenizer's description and by asking its library."""

import json
from functools import cached_property, partial

import numpy as np
import tokenizers

from preprocess.encode.aligned import TokenizedDocuments
from preprocess.encode.compiled.align import Text
from preprocess.encode.compiled.character_map import (
    SAME,
    CharacterMap,
    character_map_arrays,
    most_growth,
)
from preprocess.encode.compiled.left_over import run_kernel
from preprocess.encode.compiled.pre_token_cache import make_cache
from preprocess.encode.compiled.tables import Tables, cached_tables, tokenizer_key
from preprocess.encode.compiled.trie import build_trie
from preprocess.encode.compiled.unicode_tables import unicode_tables
from preprocess.encode.compiled.unigram import (
    Scratch,
    UnigramTables,
    make_scratch,
    tokenize_documents,
)
from preprocess.encode.compiled.unigram_paths import Vocabulary
from preprocess.encode.compiled.unigram_rules import UnigramRules, byte_pieces, parse_rules
from preprocess.encode.library import LibraryTokenizer
from preprocess.encode.tokenizer import corpus_description, describe_tokenizer, vocab_size
from preprocess.format import id_dtype

_UNKNOWN_PENALTY = 10.0
"""`K_UNK_PENALTY`: how much less an unknown character scores than the worst piece."""
_GRAPHIC = range(0x21, 0x7F)
"""ASCII that is neither white space nor a control character."""
_KEPT = 1 << 16
"""Bytes of a document up to which scratch is kept."""


class UnigramTokenizer:
    """Unigram by kernels; a document whose characters may change each other goes to the library.

    Its scratch and its cache are its own: two threads need two of them.
    """

    def __init__(self, tokenizer_json: str) -> None:
        self._tokenizer_json = tokenizer_json
        rules = parse_rules(describe_tokenizer(tokenizer_json))
        assert isinstance(rules, UnigramRules)
        key = tokenizer_key(tokenizer_json)
        arrays = cached_tables("unigram", key, lambda: _build(tokenizer_json, rules))
        self._tables = _tables(arrays, rules)
        self._dtype = id_dtype(int(arrays["vocab_size"][0]))
        self._growth = int(arrays["growth"][0])
        self._cache = make_cache()
        self._scratch = self._make_scratch(_KEPT)

    def tokenize(self, text: Text) -> TokenizedDocuments:
        """Tokenize each document whole, in order."""
        longest = int(np.diff(text.offsets).max(initial=0))
        scratch = self._scratch if longest <= _KEPT else self._make_scratch(longest)
        capacity = self._room(int(text.offsets[-1] - text.offsets[0])) + 3 * len(text.offsets)
        kernel = partial(tokenize_documents, self._tables, scratch)
        return run_kernel(kernel, text, capacity, self._dtype, lambda: self._library)

    @cached_property
    def _library(self) -> LibraryTokenizer:
        return LibraryTokenizer(self._tokenizer_json)

    def _make_scratch(self, longest: int) -> Scratch:
        return make_scratch(self._room(longest) + 8, self._cache)

    def _room(self, size: int) -> int:
        """Bytes after normalizing and adding marks: each byte may get one, of three bytes."""
        return size * (self._growth + 3)


def _tables(arrays: Tables, rules: UnigramRules) -> UnigramTables:
    return UnigramTables(
        characters=CharacterMap(arrays["entries"], arrays["texts"], rules.pairs_quotes),
        white=unicode_tables()["white"],
        plain=_plain(arrays, rules),
        vocabulary=Vocabulary(
            labels=arrays["labels"],
            bases=arrays["bases"],
            ids=arrays["ids"],
            scores=arrays["scores"],
            byte_ids=arrays["byte_ids"],
            unknown=int(arrays["unknown"][0]),
            unknown_score=float(arrays["unknown_score"][0]),
        ),
        shapes=arrays["shapes"],
        collapses=rules.collapses,
        strips_left=rules.strips_left,
        strips_right=rules.strips_right,
        strips_first=rules.strips_first,
        splits_white=rules.splits_white,
        prepends=rules.prepends,
        splits=rules.splits,
    )


def _plain(arrays: Tables, rules: UnigramRules) -> np.ndarray:
    """See `UnigramTables`; of ASCII alone, and nothing where spaces do not part pre-tokens."""
    entries, texts = arrays["entries"], arrays["texts"]
    plain = np.zeros(256, np.uint8)
    if not rules.splits or entries[0x20] != SAME:
        return plain
    for byte in _GRAPHIC:
        entry = entries[byte]
        if entry == SAME:
            plain[byte] = byte
        elif entry > 0 and texts[entry] == 1 and texts[entry + 1] in _GRAPHIC:
            plain[byte] = texts[entry + 1]
    if rules.pairs_quotes:
        plain[[ord(quote) for quote in "`'"]] = 0
    return plain


def _build(tokenizer_json: str, rules: UnigramRules) -> Tables:
    """Takes some seconds, done once a tokenizer."""
    model = corpus_description(tokenizer_json)["model"]
    vocabulary = model["vocab"]
    ids = {piece: number for number, (piece, _) in enumerate(vocabulary) if piece}
    trie = build_trie(["".join(chr(byte + 1) for byte in piece.encode()) for piece in ids])
    # A symbol of any byte must find a cell, whatever the highest symbol of the pieces.
    cells = len(trie.labels) + 257
    labels = np.full(cells, 0xFFFF, np.uint16)
    labels[: len(trie.labels)] = trie.labels
    bases, cell_ids = np.zeros(cells, np.int32), np.full(cells, -1, np.int32)
    bases[: len(trie.bases)] = trie.bases
    cell_ids[trie.ends] = list(ids.values())
    scores = np.zeros(cells)
    scores[trie.ends] = [vocabulary[number][1] for number in ids.values()]
    characters = character_map_arrays(
        _normalizer(tokenizer_json, rules), rules.composes, rules.by_grapheme
    )
    byte_ids = byte_pieces(vocabulary) if model.get("byte_fallback") else []
    return characters | {
        "labels": labels,
        "bases": bases,
        "ids": cell_ids,
        "scores": scores,
        "shapes": np.array([len(piece.encode()) for piece, _ in vocabulary], np.uint32),
        "byte_ids": np.array(byte_ids, np.int32),
        "unknown": np.array([model["unk_id"]]),
        "unknown_score": np.array([min(score for _, score in vocabulary) - _UNKNOWN_PENALTY]),
        "vocab_size": np.array([vocab_size(tokenizer_json)]),
        "growth": np.array([most_growth(characters)]),
    }


def _normalizer(tokenizer_json: str, rules: UnigramRules) -> tokenizers.normalizers.Normalizer:
    """What works character by character of a tokenizer's normalizer."""
    normalizer = {"type": "Sequence", "normalizers": list(rules.by_character)}
    description = {**describe_tokenizer(tokenizer_json), "normalizer": normalizer}
    return tokenizers.Tokenizer.from_str(json.dumps(description)).normalizer
