"""Tiny synthetic shards, written by the writer that the build uses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from preprocess.write.manifest import (
    Manifest,
    PartEntry,
    SegmenterEntry,
    ShardEntry,
    TokenizerEntry,
    write_manifest,
)
from preprocess.write.shards import Rows, ShardWriter, shard_name, shard_schema, write_index
from train.data.collate import BITS_A, IDS_A, ROW, ROW_COLUMNS, TOKENS_A

PAD, UNK, CLS, SEP, MASK = range(5)


@dataclass(frozen=True)
class ShardSpec:
    """What to make: sizes, and the numbers that rows are drawn with."""

    rows: tuple[int, ...] = (40, 25, 0, 35)
    """Rows of each shard of the train part; the validation part gets a fifth, in one shard."""
    max_length: int = 64
    vocab_size: int = 1000
    pairs: bool = False
    word_share: float = 0.6
    """Expected share of tokens that start a word."""
    sentence_share: float = 0.1
    seed: int = 0
    lengths: tuple[int, ...] | None = None
    """Row lengths without special tokens, used in turn; random if None."""


def special_tokens(spec: ShardSpec) -> TokenizerEntry:
    """BERT's special tokens at the ids 0 to 4."""
    return TokenizerEntry(
        sha256="0" * 64,
        kind="BertTokenizerFast",
        vocab_size=spec.vocab_size,
        unk_id=UNK,
        mask_id=MASK,
        pad_id=PAD,
        special_ids=(PAD, UNK, CLS, SEP, MASK),
        prefix=(CLS,),
        middle=(SEP,),
        suffix=(SEP,),
    )


def random_rows(spec: ShardSpec, count: int, rng: np.random.Generator) -> Rows:
    """`count` random rows."""
    longest = spec.max_length - (3 if spec.pairs else 2)
    if spec.lengths is None:
        lengths = rng.integers(1, longest + 1, count)
    else:
        lengths = np.resize(np.array(spec.lengths), count)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = int(offsets[-1])
    dtype = np.uint16 if spec.vocab_size <= 1 << 16 else np.uint32
    sentences = rng.random(tokens) < spec.sentence_share
    words = (rng.random(tokens) < spec.word_share) | sentences
    sentences[offsets[:-1]] = words[offsets[:-1]] = True
    return Rows(
        rng.integers(5, spec.vocab_size, tokens).astype(dtype),
        words,
        sentences,
        offsets,
        np.arange(count, dtype=np.int64),
    )


def make_part(folder: Path, part: str, shards: list[Rows], schema: pa.Schema) -> PartEntry:
    """Write the shards and the index of one part."""
    (folder / part).mkdir(parents=True, exist_ok=True)
    entries, tables = [], []
    for number, rows in enumerate(shards):
        name = shard_name(number, len(shards))
        with ShardWriter(folder / part / name, number, schema) as writer:
            writer.write(rows)
        entries.append(
            ShardEntry(
                file=f"{part}/{name}",
                rows=writer.rows,
                tokens=writer.tokens,
                words=writer.words,
                bytes=writer.bytes,
                xxh3_128=writer.xxh3_128,
            )
        )
        tables.append(writer.index)
    digest = write_index(folder / part / "index.arrow", tables)
    return PartEntry(
        documents=sum(len(rows) for rows in shards),
        rows=sum(entry.rows for entry in entries),
        tokens=sum(entry.tokens for entry in entries),
        words=sum(entry.words for entry in entries),
        unknown=0,
        batches=sum(table.num_rows for table in tables),
        index_xxh3_128=digest,
        length_histogram={},
        shards=tuple(entries),
    )


def make_shards(folder: Path, spec: ShardSpec | None = None) -> dict[str, list[Rows]]:
    """Write shards to `folder`; returns the rows of each part's shards."""
    spec = spec or ShardSpec()
    rng = np.random.default_rng(spec.seed)
    parts = {
        "train": [random_rows(spec, count, rng) for count in spec.rows],
        "validation": [random_rows(spec, sum(spec.rows) // 5, rng)],
        "test": [random_rows(spec, 0, rng)],
    }
    dtype = np.dtype(np.uint16 if spec.vocab_size <= 1 << 16 else np.uint32)
    entries: dict[Any, PartEntry] = {
        part: make_part(folder, part, shards, shard_schema(dtype)) for part, shards in parts.items()
    }
    manifest = memory_manifest(spec).model_copy(update={"parts": entries})
    write_manifest(folder, manifest)
    return parts


def bit_address(flags: np.ndarray, keep: list[np.ndarray], offset: int = 0) -> int:
    """Bit address of `flags`, packed as Arrow packs them, from bit `offset` of a buffer on."""
    bits = np.packbits(np.concatenate([np.zeros(offset, np.bool_), flags]), bitorder="little")
    keep.append(np.concatenate([bits, np.zeros(16, np.uint8)]))
    return 8 * keep[-1].ctypes.data + offset


def memory_table(rows: Rows, first: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """A collator's table of rows that lie in memory, and what keeps them there."""
    keep = [rows.ids]
    table = np.zeros((len(rows), ROW_COLUMNS), np.int64)
    table[:, ROW] = np.arange(first, first + len(rows))
    table[:, IDS_A] = rows.ids.ctypes.data + rows.ids.itemsize * rows.offsets[:-1]
    table[:, BITS_A] = bit_address(rows.word_starts, keep, offset=3) + rows.offsets[:-1]
    table[:, TOKENS_A] = np.diff(rows.offsets)
    return table, keep


def memory_manifest(spec: ShardSpec) -> Manifest:
    """The manifest of shards that nobody wrote."""
    return Manifest(
        format=1,
        tokenizer=special_tokens(spec),
        segmenter=SegmenterEntry(name="none", version="", dictionary_sha256="", hmm=False),
        max_length=spec.max_length,
        pairs=spec.pairs,
        options={},
        inputs=(),
        counts={},
        parts={},
    )
