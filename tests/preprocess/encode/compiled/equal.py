"""Encoders compared with the reference encoder."""

import functools

import numpy as np
import pyarrow as pa

from preprocess.encode.encoders import make_encoder
from preprocess.encode.protocol import EncodedDocuments, Encoder, EncoderSpec
from preprocess.encode.segmenters import SegmenterSpec

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
