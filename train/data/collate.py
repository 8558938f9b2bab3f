"""Rows to micro-batches: one kernel gathers rows from the memory maps, masks, and writes the batch.

The kernel is given a table of rows (where each row's ids and word bits lie in memory) and writes
into buffers that are used again, so nothing is allocated in the loop.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from preprocess.kernels import kernel
from preprocess.write.manifest import Manifest
from train.data.bits import Int, load_bits, uint16_view, uint32_view
from train.data.masking import (
    SETTINGS,
    Masking,
    choose_tokens,
    list_chosen,
    random_ids,
    replace_chosen,
    runs_array,
    scratch_words,
    settings_array,
)

# Columns of a table of rows, int64. A row is a segment or two (a pair): where the segment's ids
# begin (byte address), where its word bits begin (bit address: 8 * byte address + bit), its tokens.
ROW, IDS_A, BITS_A, TOKENS_A, IDS_B, BITS_B, TOKENS_B = range(7)
ROW_COLUMNS = 7

# What follows masking's own settings in the array of numbers that the kernel reads.
WIDE, PAD_ID, STRIDE, PAIRS, POSITION = range(SETTINGS, SETTINGS + 5)

IGNORE_INDEX = -100
"""The label of what has no loss; PyTorch's and transformers' default."""


@dataclass
class MicroBatch:
    """One masked micro-batch: numpy arrays over buffers that are used again.

    They are valid until the step after their own is asked for (see `Loader.steps`); copy what must
    live longer. Packed: rows lie end to end in `[1, T]`, and what follows the last one is padding
    that belongs to no row. Padded: one row a line of `[B, L]`.
    """

    input_ids: np.ndarray
    """int64 `[1, T]` or `[B, L]`, masked."""
    position_ids: np.ndarray
    """int64 like input_ids; from the model's first position in every row, 0 in the padding."""
    token_type_ids: np.ndarray
    """int64 like input_ids; 1 in the second segment of a pair."""
    cu_seqlens: np.ndarray | None
    """int32 `[rows + 1]`, packed: where rows begin; the last is `tokens`. None if padded."""
    covering: np.ndarray | None
    """int32, packed: `cu_seqlens` with the padding as rows of at most `max_seqlen` behind it, for
    attention kernels that leave memory unwritten which is in no row. None if padded."""
    max_seqlen: int
    """Packed: no row is longer; a power of two, so that few different ones occur. 0 if padded."""
    attention_mask: np.ndarray | None
    """int64 `[B, L]`, padded: 1 at real tokens. None if packed."""
    positions: np.ndarray
    """int64 `[M]`, flat index in input_ids of each chosen token, row by row, ascending in a row."""
    labels: np.ndarray
    """int64 `[M]`, the original ids there."""
    words: np.ndarray
    """int32 `[M]`, number within the batch of the masked word that each belongs to."""
    pair_labels: np.ndarray | None
    """int64 `[rows]`, -100 where a row has none; None without a pair objective."""
    rows: int
    """Real rows; 0 in a pack that only fills up a step."""
    tokens: int
    """Real tokens, special tokens included."""


class Buffers(NamedTuple):
    """The memory of one micro-batch, used again and again."""

    input_ids: np.ndarray
    position_ids: np.ndarray
    token_type_ids: np.ndarray
    attention_mask: np.ndarray
    cu_seqlens: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    words: np.ndarray
    pair_labels: np.ndarray


def make_buffers(capacity: int, max_rows: int, pin: bool = False) -> Buffers:
    """Buffers for `capacity` tokens and `max_rows` rows, in pinned memory if `pin`."""

    def empty(count: int, dtype: type) -> np.ndarray:
        if not pin:
            return np.zeros(count, dtype)
        import torch

        kind = torch.int64 if dtype is np.int64 else torch.int32
        return torch.zeros(count, dtype=kind, pin_memory=True).numpy()

    tokens = [empty(capacity, np.int64) for _ in range(6)]
    return Buffers(
        input_ids=tokens[0],
        position_ids=tokens[1],
        token_type_ids=tokens[2],
        attention_mask=tokens[3],
        positions=tokens[4],
        labels=tokens[5],
        cu_seqlens=empty(max_rows + 1 + capacity // 128 + 1, np.int32),
        words=empty(capacity, np.int32),
        pair_labels=empty(max_rows, np.int64),
    )


class Collator:
    """Turns tables of rows into micro-batches; holds the constants and the scratch memory.

    Not for use by two threads at once.

    Args:
        manifest: of the shards.
        pairs: whether tables hold pairs of segments.
        first_position: position id of a row's first token, which is the model's to say.
    """

    def __init__(self, manifest: Manifest, pairs: bool = False, first_position: int = 0) -> None:
        special = manifest.tokenizer
        self._special = tuple(
            np.array(ids, np.int64) for ids in (special.prefix, special.middle, special.suffix)
        )
        self._random_ids = random_ids(special.vocab_size, special.special_ids)
        self._mask_id = special.mask_id
        self._own = [manifest.id_dtype.itemsize == 4, special.pad_id, 0, pairs, first_position]
        self._scratch = tuple(
            np.empty(scratch_words(manifest.max_length), np.uint64) for _ in range(3)
        )
        self._pairs = pairs
        self._key: tuple[Masking, int, int, int] | None = None
        self._settings = self._runs = np.empty(0, np.uint64)

    def _constants(self, *key: Any) -> tuple[np.ndarray, np.ndarray]:
        if key != self._key:
            masking, seed, epoch, stride = key
            own = np.array(self._own, np.uint64)
            settings = settings_array(masking, seed, epoch, self._mask_id)
            self._settings = np.concatenate([settings, own])
            self._settings[STRIDE] = stride
            self._runs = runs_array(masking)
            self._key = key
        return self._settings, self._runs

    def pack(
        self,
        table: np.ndarray,
        buffers: Buffers,
        size: int,
        masking: Masking,
        seed: int,
        epoch: int,
    ) -> MicroBatch:
        """Mask the rows of `table` and lay them end to end in `[1, size]`.

        Args:
            table: int64 `[rows, ROW_COLUMNS]`; the maps that it points into stay open meanwhile.
            With
                a pair objective, `buffers.pair_labels[:rows]` is set already.
            buffers: what to write into.
            size: tokens of the pack; the rows and their special tokens must fit.
            masking: what to mask.
            seed: of the masks.
            epoch: of the masks.
        """
        masked, tokens, boundaries, longest = self._run(
            table, buffers, size, 0, masking, seed, epoch
        )
        batch = self._batch(buffers, (1, size), len(table), masked, tokens)
        batch.cu_seqlens = buffers.cu_seqlens[: len(table) + 1]
        batch.covering, batch.max_seqlen = buffers.cu_seqlens[:boundaries], longest
        return batch

    def pad(
        self,
        table: np.ndarray,
        buffers: Buffers,
        width: int,
        masking: Masking,
        seed: int,
        epoch: int,
    ) -> MicroBatch:
        """Mask the rows of `table` and lay them out as lines of `[rows, width]`.

        The arguments are as for `pack`. With no row at all the batch is one line of padding, whose
        first token counts as real for attention, which else would have nothing to attend to.
        """
        size = max(1, len(table)) * width
        masked, tokens, *_ = self._run(table, buffers, size, width, masking, seed, epoch)
        shape = (max(1, len(table)), width)
        batch = self._batch(buffers, shape, len(table), masked, tokens)
        batch.attention_mask = buffers.attention_mask[:size].reshape(shape)
        return batch

    def _run(
        self,
        table: np.ndarray,
        buffers: Buffers,
        size: int,
        stride: int,
        masking: Masking,
        seed: int,
        epoch: int,
    ) -> tuple[int, int, int, int]:
        settings, runs = self._constants(masking, seed, epoch, stride)
        return collate_rows(
            table, settings, runs, self._random_ids, self._special, self._scratch, size, buffers
        )

    def _batch(
        self, buffers: Buffers, shape: tuple[int, int], rows: int, masked: int, tokens: int
    ) -> MicroBatch:
        size = shape[0] * shape[1]
        return MicroBatch(
            input_ids=buffers.input_ids[:size].reshape(shape),
            position_ids=buffers.position_ids[:size].reshape(shape),
            token_type_ids=buffers.token_type_ids[:size].reshape(shape),
            cu_seqlens=None,
            covering=None,
            max_seqlen=0,
            attention_mask=None,
            positions=buffers.positions[:masked],
            labels=buffers.labels[:masked],
            words=buffers.words[:masked],
            pair_labels=buffers.pair_labels[:rows] if self._pairs else None,
            rows=rows,
            tokens=tokens,
        )


def power_of_two(number: int, least: int) -> int:
    """The smallest power of two that is at least both; `least` is one."""
    return max(least, 1 << (number - 1).bit_length()) if number else least


@kernel
def cover_padding(cu_seqlens: np.ndarray, rows: int, size: int, longest: int) -> tuple[int, int]:
    """Append boundaries over the padding of a pack: rows that are no longer than its own longest.

    Args:
        cu_seqlens: int32, the boundaries of `rows` rows, and room for the others behind them.
        rows: how many rows there are.
        size: tokens of the pack.
        longest: tokens of the longest row.

    Returns:
        How many boundaries there are now, and a power of two from 128 on that no row exceeds.
    """
    most = 128
    while most < longest:
        most *= 2
    count = rows + 1
    end = cu_seqlens[rows]
    while end < size:
        end = min(end + most, size)
        cu_seqlens[count] = end
        count += 1
    return count, most


@kernel
def _copy_ids(target: np.ndarray, address: int, wide: bool) -> None:
    if wide:
        wide_source = uint32_view(address, len(target))
        for i in range(len(target)):
            target[i] = wide_source[i]
    else:
        source = uint16_view(address, len(target))
        for i in range(len(target)):
            target[i] = source[i]


@kernel
def _append_bits(words: np.ndarray, filled: int, bit_address: int, bits: int) -> None:
    """Append `bits` bits to `words`, which hold `filled` and zeros to the end of their word."""
    for done in range(0, bits, 64):
        piece = load_bits(bit_address + done, min(64, bits - done))
        at = filled + done
        word = at >> 6
        shift = np.uint64(at & 63)
        if shift == 0:
            words[word] = piece
        else:
            words[word] |= piece << shift
            words[word + 1] = piece >> (np.uint64(64) - shift)


@kernel
def _place_special(target: np.ndarray, ids: np.ndarray, at: Int) -> Int:
    for i in range(len(ids)):
        target[at + i] = ids[i]
    return at + len(ids)


@kernel
def count_up(target: np.ndarray, first: Int) -> None:
    """Fill with `first`, `first` + 1, and so on."""
    for i in range(len(target)):
        target[i] = first + i


@kernel
def place_row(
    table: np.ndarray,
    r: int,
    at: Int,
    settings: np.ndarray,
    prefix: np.ndarray,
    middle: np.ndarray,
    suffix: np.ndarray,
    input_ids: np.ndarray,
    types: np.ndarray,
) -> Int:
    """Write row `r` of the table with its special tokens at `at`; returns where it ends."""
    wide = settings[WIDE] != 0
    begin = at
    at = _place_special(input_ids, prefix, at)
    _copy_ids(input_ids[at : at + table[r, TOKENS_A]], table[r, IDS_A], wide)
    at += table[r, TOKENS_A]
    second = at
    if table[r, TOKENS_B] > 0:
        at = _place_special(input_ids, middle, at)
        second = at
        _copy_ids(input_ids[at : at + table[r, TOKENS_B]], table[r, IDS_B], wide)
        at += table[r, TOKENS_B]
    else:
        second += len(suffix)
    at = _place_special(input_ids, suffix, at)
    if settings[PAIRS] != 0:
        types[begin:second] = 0
        types[second:at] = 1
    return at


@kernel
def collate_rows(
    table: np.ndarray,
    settings: np.ndarray,
    runs: np.ndarray,
    ids: np.ndarray,
    special: tuple[np.ndarray, ...],
    scratch: tuple[np.ndarray, ...],
    size: int,
    buffers: Buffers,
) -> tuple[int, int, int, int]:
    """The fused kernel: gather, add special tokens, mask, number, pad.

    Args:
        table: int64 `[rows, ROW_COLUMNS]`.
        settings: uint64, masking's settings and then this module's.
        runs: see `masking.runs_array`.
        ids: ids of random replacements.
        special: three int64 arrays, special tokens before a row, between its segments, after it.
        scratch: three uint64 arrays, `masking.scratch_words` long.
        size: tokens of the batch, padding included.
        buffers: what is written: attention_mask only if STRIDE is set, cu_seqlens only if it is
            not, token_type_ids in rows only if PAIRS is.

    Returns:
        (number of chosen tokens, number of real tokens, and what `cover_padding` returns for a
        pack; zeros if padded)
    """
    prefix, middle, suffix = special
    starts, planes, chosen = scratch
    input_ids, position_ids = buffers.input_ids, buffers.position_ids
    token_type_ids, attention_mask = buffers.token_type_ids, buffers.attention_mask
    cu_seqlens, labels = buffers.cu_seqlens, buffers.labels
    positions, words = buffers.positions, buffers.words
    stride = np.int64(settings[STRIDE])
    pad = np.int64(settings[PAD_ID])
    first_position = np.int64(settings[POSITION])
    masked, word, tokens, longest = 0, -1, 0, 0
    end: Int = 0
    if stride == 0:
        cu_seqlens[0] = 0
    elif len(table) == 0:
        attention_mask[:size] = 0
        attention_mask[0] = 1
    for r in range(len(table)):
        begin = r * stride if stride else end
        end = place_row(
            table, r, begin, settings, prefix, middle, suffix, input_ids, token_type_ids
        )
        count_up(position_ids[begin:end], first_position)
        row = np.uint64(table[r, ROW])
        split, length = table[r, TOKENS_A], table[r, TOKENS_A] + table[r, TOKENS_B]
        _append_bits(starts, 0, table[r, BITS_A], split)
        _append_bits(starts, split, table[r, BITS_B], length - split)
        choose_tokens(starts, length, row, runs, planes, chosen, settings)
        first = masked
        base = begin + len(prefix)
        masked, word = list_chosen(
            starts, chosen, length, base, split, len(middle), masked, word, positions, words
        )
        replace_chosen(
            input_ids, positions[first:masked], labels[first:masked], row, planes, ids, settings
        )
        tokens += int(end - begin)
        longest = max(longest, int(end - begin))
        if stride:
            attention_mask[begin:end] = 1
            attention_mask[end : begin + stride] = 0
            input_ids[end : begin + stride] = pad
            position_ids[end : begin + stride] = 0
            token_type_ids[end : begin + stride] = 0
            end = begin + stride
        else:
            cu_seqlens[r + 1] = end
    input_ids[end:size] = pad
    position_ids[end:size] = 0
    token_type_ids[end:size] = 0
    if stride:
        return masked, tokens, 0, 0
    boundaries, most = cover_padding(cu_seqlens, len(table), size, longest)
    return masked, tokens, boundaries, most
