"""Encoders compared with the reference encoder."""

import functools
import itertools

import numpy as np
import pyarrow as pa

from preprocess.encode.encoders import choose_encoder, make_encoder
from preprocess.encode.protocol import EncodedDocuments, Encoder, EncoderSpec
from preprocess.encode.segmenters import SegmenterSpec
from tests.preprocess import support
from tests.preprocess.encode.compiled.texts import PIECES

SEGMENTERS = [
    SegmenterSpec("none"),
    SegmenterSpec("jieba"),
    SegmenterSpec("whitespace"),
    SegmenterSpec("custom", "tests.preprocess.encode.test_encoders:wholes"),
]


@functools.cache
def encoder(tokenizer_json: str, segmenter: SegmenterSpec, kind: str) -> Encoder:
    return make_encoder(EncoderSpec(tokenizer_json, segmenter, kind))


def check(
    tokenizer_json: str,
    segmenter: SegmenterSpec,
    documents: list[str],
    kind: str = "compiled",
    peer: str = "reference",
) -> EncodedDocuments:
    """Assert that an encoder gives what its peer does; returns that."""
    array = pa.array(documents, pa.large_string())
    found = encoder(tokenizer_json, segmenter, kind).encode(array)
    expected = encoder(tokenizer_json, segmenter, peer).encode(array)
    assert found.counts == expected.counts
    for name in ("ids", "word_starts", "sentence_starts", "offsets"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.dtype == theirs.dtype
        if not np.array_equal(ours, theirs):
            if len(documents) > 1:
                for document in documents:
                    check(tokenizer_json, segmenter, [document], kind, peer)
            raise AssertionError((name, documents, ours.tolist(), theirs.tolist()))
    return expected


def check_pieces(tokenizer_json: str, more: list[str]) -> None:
    """Assert that a compiled tokenizer is equal on hard pieces, their pairs and the samples."""
    assert choose_encoder("auto", tokenizer_json, SEGMENTERS[1]) == ("compiled", None)
    every = [*PIECES, *more]
    documents = [*every, *(f"中{a}b{b}中 c" for a, b in itertools.pairwise(every))]
    documents += [*support.zh_text(4000).splitlines(), "", *support.en_text(4000).splitlines()]
    check(tokenizer_json, SEGMENTERS[0], documents)
    check(tokenizer_json, SEGMENTERS[1], documents[::5])
