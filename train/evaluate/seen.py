"""Test texts that stand in the shards of a model: the same ids as one whole training document.

A text is found where it was a document of its own (a line of a text file, an entry of a jsonl
file). One that stands inside a longer document is not.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash

from preprocess.encode.encoders import make_encoder
from preprocess.encode.protocol import EncoderSpec
from preprocess.encode.segmenters import SegmenterSpec
from preprocess.encode.tokenizer import load_tokenizer
from train.data.shard_dataset import ShardDataset, check_tokenizer
from train.evaluate.task_file import Task


def find_seen(task: Task, rows: np.ndarray, shards: Path) -> set[int]:
    """Which of the examples `rows` have a text that is a document of the train part.

    Raises:
        WholewordError: the shards cannot be read.
    """
    dataset = ShardDataset(shards, "train")
    check_tokenizer(shards, dataset.manifest)
    keys = _text_keys(task, rows, shards, dataset.manifest.segmenter.name == "whitespace")
    lengths = np.array(sorted({length for length, _ in keys}), np.int64)
    found: set[int] = set()
    for ids in _documents(dataset, lengths):
        found |= keys.get(_key(ids), set())
    return found


def _text_keys(
    task: Task, rows: np.ndarray, shards: Path, spaces_are_marks: bool
) -> dict[tuple[int, int], set[int]]:
    """The examples of each key of ids; a text counts as written, and without space around it."""
    tokenizer = load_tokenizer(str(shards / "tokenizer"))
    # Ids do not depend on the segmenter, but for spaces that stand between words as marks.
    segmenter = SegmenterSpec("whitespace" if spaces_are_marks else "none")
    encoder = make_encoder(EncoderSpec(tokenizer.json, segmenter, "reference"))
    keys: dict[tuple[int, int], set[int]] = {}
    for row in rows.tolist():
        written = {task.texts[row], task.pairs[row]} - {""}
        texts = sorted(written | {text.strip() for text in written})
        encoded = encoder.encode(pa.array(texts, pa.large_string()))
        for begin, end in zip(encoded.offsets[:-1], encoded.offsets[1:], strict=True):
            if end > begin:
                keys.setdefault(_key(encoded.ids[begin:end]), set()).add(row)
    return keys


def _key(ids: np.ndarray) -> tuple[int, int]:
    """Length and xxh3-64 of ids."""
    return len(ids), xxhash.xxh3_64_intdigest(ids.astype(np.uint32).tobytes())


def _documents(dataset: ShardDataset, lengths: np.ndarray) -> Iterator[np.ndarray]:
    """The ids of each document that has one of the lengths; its rows follow each other."""
    carried: list[np.ndarray] = []
    last = -1
    for batch in range(dataset.batches):
        rows = dataset.locate(batch)
        ids = rows.batch.column(0).flatten().to_numpy()
        ends = np.cumsum(rows.lengths)
        changes = np.flatnonzero(np.diff(rows.documents)) + 1
        firsts = np.concatenate([[0], changes])
        bounds = np.concatenate([[0], ends[changes - 1], ends[-1:]])
        if rows.documents[0] != last:
            yield from _whole(carried, lengths)
            carried = []
        last = int(rows.documents[-1])
        if len(firsts) > 1:
            yield from _whole([*carried, ids[: bounds[1]]], lengths)
            carried = []
            sizes = np.diff(bounds)
            for number in np.flatnonzero(np.isin(sizes[1:-1], lengths)) + 1:
                yield ids[bounds[number] : bounds[number + 1]]
        carried.append(ids[bounds[-2] :].copy())
    yield from _whole(carried, lengths)


def _whole(parts: list[np.ndarray], lengths: np.ndarray) -> Iterator[np.ndarray]:
    if parts and sum(map(len, parts)) in lengths:
        yield np.concatenate(parts)
