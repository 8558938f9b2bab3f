"""Tables for `byte_level`, built from a tokenizer's description and by asking its library."""

from functools import cached_property, partial
from typing import Any

import numpy as np

from preprocess.encode.aligned import TokenizedDocuments
from preprocess.encode.compiled.added_tokens import added_entries, added_ids
from preprocess.encode.compiled.align import Text
from preprocess.encode.compiled.bpe import make_word, merge_table, merges_of, merges_of_pairs
from preprocess.encode.compiled.byte_level import (
    LEAD_SHIFT,
    TRAIL_SHIFT,
    ByteLevelTables,
    Scratch,
    make_scratch,
    merge_characters,
    tokenize_documents,
)
from preprocess.encode.compiled.byte_level_rules import (
    byte_symbols,
    normalizes,
    parse_pre_tokenizers,
    parse_trims,
    parts,
)
from preprocess.encode.compiled.byte_trie import byte_trie, byte_trie_arrays
from preprocess.encode.compiled.left_over import run_kernel
from preprocess.encode.compiled.pretokens import PreTokenizerTables
from preprocess.encode.compiled.seams import Seams, filter_shift, seam_arrays
from preprocess.encode.compiled.tables import Tables, cached_tables, tokenizer_key
from preprocess.encode.compiled.unicode_tables import unicode_tables
from preprocess.encode.library import LibraryTokenizer
from preprocess.encode.tokenizer import corpus_description, describe_tokenizer, vocab_size
from preprocess.format import id_dtype


class ByteLevelTokenizer:
    """Byte-level BPE by kernels; a document that NFC may change goes to the library.

    Its scratch and its cache are its own: two threads need two of them.
    """

    def __init__(self, tokenizer_json: str) -> None:
        self._tokenizer_json = tokenizer_json
        description = describe_tokenizer(tokenizer_json)
        key = tokenizer_key(tokenizer_json)
        arrays = cached_tables("byte-level", key, lambda: _build(tokenizer_json))
        unicode = unicode_tables()
        self._tables = _tables(description, arrays, unicode)
        self._dtype = id_dtype(int(arrays["vocab_size"][0]))
        self._scratch = self._make_scratch(1 << 16)
        self._longest = 1 << 16

    def tokenize(self, text: Text) -> TokenizedDocuments:
        """Tokenize each document whole, in order."""
        scratch = self._scratch_for(int(np.diff(text.offsets).max(initial=0)))
        capacity = 2 * int(text.offsets[-1] - text.offsets[0]) + 1
        kernel = partial(tokenize_documents, self._tables, scratch)
        return run_kernel(kernel, text, capacity, self._dtype, lambda: self._library)

    @cached_property
    def _library(self) -> LibraryTokenizer:
        return LibraryTokenizer(self._tokenizer_json)

    def _make_scratch(self, longest: int) -> Scratch:
        return make_scratch(longest, len(self._tables.pre_tokenizer.kinds))

    def _scratch_for(self, longest: int) -> Scratch:
        """Scratch for documents of a length; what is longer than most is not kept."""
        if longest <= self._longest:
            return self._scratch
        return self._make_scratch(longest)._replace(cache=self._scratch.cache)


def _tables(description: dict[str, Any], arrays: Tables, unicode: Tables) -> ByteLevelTables:
    levels, trims = parse_pre_tokenizers(description), parse_trims(description)
    assert not isinstance(levels, str)
    assert not isinstance(trims, str)
    model = description["model"]
    pre_tokenizers = parts(description["pre_tokenizer"], "pretokenizers")
    kinds = np.array(levels, np.int64).reshape(len(levels), 2)
    return ByteLevelTables(
        added=byte_trie(arrays, "added"),
        composition=unicode["composition"][: 0x110000 * normalizes(description)],
        pre_tokenizer=PreTokenizerTables(
            unicode["classes"],
            np.ascontiguousarray(kinds[:, 0]),
            np.ascontiguousarray(kinds[:, 1]),
        ),
        byte_ids=arrays["byte_ids"],
        unknown=model["vocab"].get(model.get("unk_token"), 0),
        fuse_unknown=bool(model.get("fuse_unk")),
        merges=merges_of(arrays["merges"]),
        byte_merges=arrays["byte_merges"],
        seams=Seams(arrays["sides"], arrays["pairs"], filter_shift(arrays["pairs"])),
        characters=arrays["characters"],
        wholes=byte_trie(arrays, "wholes"),
        shapes=arrays["shapes"],
        prefix_space=bool(pre_tokenizers[-1]["add_prefix_space"]),
        trims=bool(trims),
        trim_keeps_first=any(trims),
    )


def _build(tokenizer_json: str) -> Tables:
    """Takes some seconds, done once a tokenizer."""
    description = corpus_description(tokenizer_json)
    original = describe_tokenizer(tokenizer_json)
    model = description["model"]
    vocabulary: dict[str, int] = model["vocab"]
    symbols = byte_symbols()
    byte_ids = np.full(256, -1, np.int32)
    for byte, symbol in symbols.items():
        byte_ids[byte] = vocabulary.get(symbol, -1)
    merges = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
    pairs = np.array([[vocabulary[a], vocabulary[b]] for a, b in merges], np.int64).reshape(-1, 2)
    merged = np.array([vocabulary[a + b] for a, b in merges], np.int64)
    cells = merge_table(pairs, merged)
    bytes_of = {symbol: byte for byte, symbol in symbols.items()}
    wholes = {
        bytes(bytes_of[c] for c in token): number
        for token, number in vocabulary.items()
        if model.get("ignore_merges") and token and all(c in bytes_of for c in token)
    }
    byte_merges = merges_of_pairs(merges_of(cells), byte_ids)
    sides, filter_of_pairs = seam_arrays(
        (bytes(bytes_of[c] for c in a), bytes(bytes_of[c] for c in b)) for a, b in merges
    )
    characters = merge_characters(merges_of(cells), byte_ids, byte_merges, make_word(3))
    if any(byte_ids[byte] < 0 for byte in symbols):  # unknown bytes that follow each other may fuse
        sides, characters = sides[:0], characters[:0]
    added = added_ids(tokenizer_json)
    size = vocab_size(tokenizer_json)
    return {
        "byte_ids": byte_ids,
        "merges": cells,
        "byte_merges": byte_merges,
        "sides": sides,
        "pairs": filter_of_pairs,
        "characters": characters,
        "shapes": _shapes(vocabulary, added, size),
        "vocab_size": np.array([size]),
        **byte_trie_arrays("added", added_entries(original, added)),
        **byte_trie_arrays("wholes", wholes),
    }


def _shapes(vocabulary: dict[str, int], added: dict[str, int], size: int) -> np.ndarray:
    """`shapes` of `ByteLevelTables`."""
    space = byte_symbols()[0x20]
    shapes = np.zeros(size, np.uint32)
    for token, number in (*vocabulary.items(), *added.items()):
        spaces = [c == space or c.isspace() for c in token]
        lead = spaces.index(False) if False in spaces else len(spaces)
        trail = spaces[::-1].index(False) if False in spaces else len(spaces)
        shapes[number] = len(token) | lead << LEAD_SHIFT | trail << TRAIL_SHIFT
    return shapes
