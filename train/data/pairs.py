"""Sentence-order and next-sentence prediction: rows cut in two at a sentence start.

- Sentence order (ALBERT's SOP, Lan et al. 2020): the halves are swapped half the time; label 1 if
  they were, else 0.
- Next sentence (BERT's NSP, Devlin et al. 2019): half the time the second half is the beginning of
  a row of another document in the window, no longer than what it replaces; label 1 if it is, else
  0. A row is drawn from all others; if it is of the same document, the next one in the window's
  shuffled order (after the last comes the first) that is not takes its place. In a window of one
  document every second half is the true one.

A row without a sentence start after its first token stays whole and has no label. All draws are
the row's own (`philox`, block 0 of `STRUCTURE`: which cut, whether to change it, which other row),
so masks and pairs do not depend on who makes the batch.
"""

import numpy as np

from preprocess.errors import WholewordError
from preprocess.kernels import kernel
from preprocess.write.manifest import Manifest
from train.data.bits import Int, count_ones, load_bits, trailing_zeros
from train.data.collate import BITS_A, BITS_B, IDS_A, IDS_B, IGNORE_INDEX, ROW, TOKENS_A, TOKENS_B
from train.data.philox import STRUCTURE, fill_blocks

_LOW = np.uint64(0xFFFFFFFF)
_U1, _U32 = np.uint64(1), np.uint64(32)
_HALF = np.uint64(1 << 31)


def check_pairs(manifest: Manifest, sentence_order: bool, next_sentence: bool) -> bool:
    """Whether batches hold pairs.

    Raises:
        WholewordError: the shards leave no room for pairs.
    """
    if (sentence_order or next_sentence) and not manifest.pairs:
        option = "--sentence-order" if sentence_order else "--next-sentence"
        raise WholewordError(
            f"{option}: the shards leave no room for the special tokens of a pair; build them with "
            "`python -m preprocess build-shards --pairs`"
        )
    return sentence_order or next_sentence


@kernel
def make_pairs(
    table: np.ndarray,
    sentences: np.ndarray,
    documents: np.ndarray,
    order: bool,
    bytes_an_id: int,
    seed: np.uint64,
    epoch: np.uint64,
    labels: np.ndarray,
) -> None:
    """Cut the rows of a window's table in two, in place.

    Args:
        table: int64 `[rows, collate.ROW_COLUMNS]`, rows of one segment.
        sentences: int64 `[rows]`, bit address of each row's first `sentence_starts`.
        documents: int64 `[rows]`, the document of each row.
        order: True for sentence order, False for next sentence.
        bytes_an_id: 2 or 4.
        seed: uint64.
        epoch: uint64.
        labels: int64 `[rows]`, the result: 0, 1, or -100 for a row that stays whole.
    """
    rows = len(table)
    drawn = np.empty(2, np.uint64)
    whole = table[:, TOKENS_A].copy()
    foreign = _next_of_another(documents)
    for r in range(rows):
        labels[r] = IGNORE_INDEX
        row = np.uint64(table[r, ROW])
        fill_blocks(drawn, 1, STRUCTURE, epoch, row, seed)
        change, other = drawn[0] >> _U32, drawn[1] & _LOW
        cut = _cut(sentences[r], whole[r], drawn[0] & _LOW)
        if cut == 0:
            continue
        labels[r] = np.int64(change < _HALF and (order or foreign[r] >= 0))
        _split(table, r, cut, whole[r], bytes_an_id)
        if labels[r] == 1 and order:
            _swap(table, r)
        elif labels[r] == 1:
            place = np.int64((other * np.uint64(rows - 1)) >> _U32)
            place += place >= r
            if documents[place] == documents[r]:
                place = foreign[place]
            _take_from(table, r, place, whole)


@kernel
def _next_of_another(documents: np.ndarray) -> np.ndarray:
    """The next place, around the end, of another document; -1 if there is none: int64 `[rows]`."""
    rows = len(documents)
    places = np.full(rows, -1)
    for i in range(2 * rows - 2, -1, -1):  # twice around: the last places look past the end
        here, after = i % rows, (i + 1) % rows
        places[here] = after if documents[after] != documents[here] else places[after]
    return places


@kernel
def _cut(bit_address: int, tokens: int, number: np.uint64) -> Int:
    """A sentence start in (0, tokens), drawn uniformly by `number`; 0 if there is none."""
    count = np.uint64(0)
    for at in range(0, tokens, 64):
        count += count_ones(load_bits(bit_address + at, min(64, tokens - at)))
    count -= load_bits(bit_address, 1)
    if count == 0:
        return 0
    wanted = ((number * count) >> _U32) + load_bits(bit_address, 1)
    for at in range(0, tokens, 64):
        bits = load_bits(bit_address + at, min(64, tokens - at))
        if wanted >= count_ones(bits):
            wanted -= count_ones(bits)
            continue
        while wanted > 0:
            bits &= bits - _U1
            wanted -= _U1
        return at + np.int64(trailing_zeros(bits))
    return 0


@kernel
def _split(table: np.ndarray, r: int, cut: Int, tokens: int, bytes_an_id: int) -> None:
    table[r, TOKENS_A] = cut
    table[r, IDS_B] = table[r, IDS_A] + bytes_an_id * cut
    table[r, BITS_B] = table[r, BITS_A] + cut
    table[r, TOKENS_B] = tokens - cut


@kernel
def _swap(table: np.ndarray, r: int) -> None:
    for a, b in ((IDS_A, IDS_B), (BITS_A, BITS_B), (TOKENS_A, TOKENS_B)):
        table[r, a], table[r, b] = table[r, b], table[r, a]


@kernel
def _take_from(table: np.ndarray, r: int, other: Int, whole: np.ndarray) -> None:
    """Segment B of `r` becomes the begin of row `other`."""
    table[r, IDS_B] = table[other, IDS_A]
    table[r, BITS_B] = table[other, BITS_A]
    table[r, TOKENS_B] = min(table[r, TOKENS_B], whole[other])
