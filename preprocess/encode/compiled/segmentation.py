"""Documents cut into words, many at a time: by kernels, or by a user's function."""

import unicodedata
from collections import Counter
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from preprocess.encode.compiled import jieba, whitespace
from preprocess.encode.compiled.align import Text
from preprocess.encode.compiled.jieba import JiebaTables, score_window
from preprocess.encode.compiled.jieba_tables import load_jieba
from preprocess.encode.compiled.normalizer import text_properties
from preprocess.encode.compiled.tables import cached_tables, content_key
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.encode.compiled.utf8 import decode
from preprocess.encode.segmenters import Segmenter, SegmenterSpec, make_segmenter
from preprocess.kernels import kernel
from preprocess.read.buffers import read_only, text_buffers

_CHUNK = 1 << 15
"""Bytes that are segmented at a time, unless no cut is possible; they stay in the cache."""

DocumentSegmenter = Callable[[pa.LargeStringArray], tuple[Text, dict[str, int]]]
"""Returns the text, and counts of what was repaired, by reason."""


def make_document_segmenter(spec: SegmenterSpec) -> DocumentSegmenter:
    """The function that a spec names; its words are those of `segmenters.make_segmenter`.

    Raises:
        WholewordError: a user dictionary holds a word of more than 255 characters.
    """
    if spec.kind == "none":
        return _by_pre_token
    if spec.kind == "jieba":
        tables = load_jieba(spec)
        return lambda documents: _by_jieba(documents, tables)
    if spec.kind == "whitespace":
        properties = load_text_properties()
        return lambda documents: _by_whitespace(documents, properties)
    segment = make_segmenter(spec)
    return lambda documents: _by_function(documents, segment)


def load_text_properties() -> np.ndarray:
    """What `whitespace` and `sentences` know about code points; uint32 `[0x110000]`."""
    key = content_key(unicodedata.unidata_version.encode())
    return cached_tables("text", key, lambda: {"properties": text_properties().astype(np.uint32)})[
        "properties"
    ]


def _by_pre_token(documents: pa.LargeStringArray) -> tuple[Text, dict[str, int]]:
    data, offsets = text_buffers(documents)
    return Text(data, offsets, np.zeros(0, np.uint8), np.ones(len(documents), bool)), {}


def _by_jieba(documents: pa.LargeStringArray, tables: JiebaTables) -> tuple[Text, dict[str, int]]:
    data, offsets = text_buffers(documents)
    longest = int(np.diff(offsets).max(initial=0))
    # Pages that nothing is written to cost no memory.
    marks = np.empty(offsets[-1] - offsets[0], np.uint8)
    scores = np.empty(score_window(tables.longest_word))
    _mark_by_jieba(tables, data, offsets, scores, np.empty(longest + 1, np.uint16), marks)
    return Text(data, offsets, marks, np.zeros(len(documents), bool)), {}


def _by_whitespace(
    documents: pa.LargeStringArray, properties: np.ndarray
) -> tuple[Text, dict[str, int]]:
    data, offsets = text_buffers(documents)
    size = int(offsets[-1] - offsets[0])
    longest = int(np.diff(offsets).max(initial=0))
    kept, marks = np.empty(size, np.uint8), np.empty(size, np.uint8)
    kept_offsets = np.zeros_like(offsets)
    chunk_marks = np.empty(longest + 1, np.uint8)
    _mark_by_whitespace(properties, data, offsets, chunk_marks, kept, kept_offsets, marks)
    kept = read_only(kept[: kept_offsets[-1]])
    return Text(kept, read_only(kept_offsets), marks, np.zeros(len(documents), bool)), {}


def _by_function(documents: pa.LargeStringArray, segment: Segmenter) -> tuple[Text, dict[str, int]]:
    data, offsets = text_buffers(documents)
    marks = np.zeros(offsets[-1] - offsets[0], np.uint8)
    by_pre_token = np.zeros(len(documents), bool)
    counts: Counter[str] = Counter()
    for index, document in enumerate(documents.to_pylist()):
        words = segment(document)
        counts.update(words.counts)
        if words.starts is None:
            by_pre_token[index] = True
        elif words.starts:
            marks[offsets[index] - offsets[0] + np.array(list(words.starts))] = 1
    return Text(data, offsets, marks, by_pre_token), dict(counts)


@unmanaged
@kernel
def _mark_by_jieba(
    tables: JiebaTables,
    data: np.ndarray,
    offsets: np.ndarray,
    scores: np.ndarray,
    symbols: np.ndarray,
    marks: np.ndarray,
) -> None:
    """Set `marks` as `Text` has them; scratch as `jieba.mark_words` wants it."""
    for document in range(len(offsets) - 1):
        position, end = offsets[document], offsets[document + 1]
        mark = position - offsets[0]
        while position < end:
            cut = end
            if end - position > _CHUNK:
                cut = jieba.chunk_end(tables.symbols, data, position + _CHUNK, end)
            mark += jieba.mark_words(tables, data, position, cut, scores, symbols, marks[mark:])
            position = cut


@unmanaged
@kernel
def _mark_by_whitespace(
    properties: np.ndarray,
    data: np.ndarray,
    offsets: np.ndarray,
    chunk_marks: np.ndarray,
    kept: np.ndarray,
    kept_offsets: np.ndarray,
    marks: np.ndarray,
) -> None:
    """Copy what is text to `kept`, and set `kept_offsets` and `marks` as `Text` has them."""
    at = 0
    for document in range(len(offsets) - 1):
        begin, end = offsets[document], offsets[document + 1]
        mark = at
        position = begin
        while position < end:
            cut = end
            if end - position > _CHUNK:
                cut = whitespace.chunk_end(properties, data, position + _CHUNK, end)
            whitespace.mark_words(properties, data, begin, position, cut, end, chunk_marks)
            character = 0
            while position < cut:
                here = position
                _, position = decode(data, here)
                flags = chunk_marks[character]
                character += 1
                if flags & whitespace.REMOVED:
                    continue
                marks[mark] = flags
                mark += 1
                for index in range(here, position):
                    kept[at] = data[index]
                    at += 1
        kept_offsets[document + 1] = at
