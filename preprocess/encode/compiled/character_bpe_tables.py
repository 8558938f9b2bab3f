"""Tables for `character_bpe`, built from a tokenizer's description and by asking its library."""

from functools import cached_property, partial

import numpy as np
import tokenizers

from preprocess.encode.aligned import TokenizedDocuments
from preprocess.encode.compiled.added_tokens import added_entries, added_ids
from preprocess.encode.compiled.align import Text
from preprocess.encode.compiled.bpe import merge_table, merges_of
from preprocess.encode.compiled.byte_trie import byte_trie, byte_trie_arrays
from preprocess.encode.compiled.character_bpe import (
    CharacterBpeTables,
    make_scratch,
    tokenize_documents,
)
from preprocess.encode.compiled.character_bpe_rules import (
    COMPOSING,
    byte_pieces,
    normalizer_parts,
)
from preprocess.encode.compiled.character_map import (
    CharacterMap,
    character_map_arrays,
    most_growth,
)
from preprocess.encode.compiled.left_over import run_kernel
from preprocess.encode.compiled.pre_token_cache import make_cache
from preprocess.encode.compiled.seams import Seams, filter_shift, seam_arrays
from preprocess.encode.compiled.tables import Tables, cached_tables, tokenizer_key
from preprocess.encode.library import LibraryTokenizer
from preprocess.encode.tokenizer import corpus_description, describe_tokenizer, vocab_size
from preprocess.format import id_dtype

_KEPT = 1 << 16
"""Bytes of a document up to which scratch is kept."""


class CharacterBpeTokenizer:
    """BPE over characters by kernels; documents that kernels cannot normalize go to the library.

    Its scratch and its cache are its own: two threads need two of them.
    """

    def __init__(self, tokenizer_json: str) -> None:
        self._tokenizer_json = tokenizer_json
        key = tokenizer_key(tokenizer_json)
        arrays = cached_tables("character-bpe", key, lambda: _build(tokenizer_json))
        self._tables = CharacterBpeTables(
            added=byte_trie(arrays, "added"),
            characters=CharacterMap(arrays["entries"], arrays["texts"], False),
            symbols=arrays["symbols"],
            byte_ids=arrays["byte_ids"],
            merges=merges_of(arrays["merges"]),
            seams=Seams(arrays["sides"], arrays["pairs"], filter_shift(arrays["pairs"])),
            shapes=arrays["shapes"],
        )
        self._dtype = id_dtype(int(arrays["vocab_size"][0]))
        self._growth = int(arrays["growth"][0])
        self._cache = make_cache()
        self._scratch = make_scratch(_KEPT * self._growth, self._cache)

    def tokenize(self, text: Text) -> TokenizedDocuments:
        """Tokenize each document whole, in order."""
        longest = int(np.diff(text.offsets).max(initial=0))
        scratch = self._scratch
        if longest > _KEPT:
            scratch = make_scratch(longest * self._growth, self._cache)
        capacity = int(text.offsets[-1] - text.offsets[0]) * self._growth + 1
        kernel = partial(tokenize_documents, self._tables, scratch)
        return run_kernel(kernel, text, capacity, self._dtype, lambda: self._library)

    @cached_property
    def _library(self) -> LibraryTokenizer:
        return LibraryTokenizer(self._tokenizer_json)


def _build(tokenizer_json: str) -> Tables:
    """Takes some seconds, done once a tokenizer."""
    description = corpus_description(tokenizer_json)
    original = describe_tokenizer(tokenizer_json)
    model = description["model"]
    vocabulary: dict[str, int] = model["vocab"]
    merges = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
    pairs = np.array([[vocabulary[a], vocabulary[b]] for a, b in merges], np.int64).reshape(-1, 2)
    merged = np.array([vocabulary[a + b] for a, b in merges], np.int64)
    sides, filter_of_pairs = seam_arrays((a.encode(), b.encode()) for a, b in merges)
    symbols = np.full(0x110000, -1, np.int32)
    size = vocab_size(tokenizer_json)
    shapes = np.zeros(size, np.uint32)
    for piece, number in vocabulary.items():
        shapes[number] = len(piece.encode())
        if len(piece) == 1:
            symbols[ord(piece)] = number
    byte_ids = np.array(byte_pieces(vocabulary), np.int32)
    shapes[byte_ids] = 1
    names = {part["type"] for part in normalizer_parts(original)}
    normalizer = tokenizers.Tokenizer.from_str(tokenizer_json).normalizer
    characters = character_map_arrays(
        normalizer or tokenizers.normalizers.Sequence([]), bool(names & COMPOSING), False
    )
    return characters | {
        "symbols": symbols,
        "byte_ids": byte_ids,
        "merges": merge_table(pairs, merged),
        "sides": sides,
        "pairs": filter_of_pairs,
        "shapes": shapes,
        "vocab_size": np.array([size]),
        "growth": np.array([most_growth(characters)]),
        **byte_trie_arrays("added", added_entries(original, added_ids(tokenizer_json))),
    }
