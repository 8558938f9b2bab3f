"""Which rows share a micro-batch: plans that are pure functions of (lengths, seed, epoch, window).

A plan is a list of packs, each a list of places in the window. Lengths count special tokens.
"""

from dataclasses import dataclass

import numpy as np

from preprocess.format import MAX_LENGTH
from preprocess.kernels import kernel
from train.data.bits import trailing_zeros
from train.data.order import PACKS, permutation


@dataclass(frozen=True)
class PackingPlan:
    """Packs, in the order in which they are handed out."""

    rows: np.ndarray
    """int64 `[rows]`, places of rows in the window, pack after pack."""
    begins: np.ndarray
    """int64 `[packs]`, where each pack begins in `rows`."""
    ends: np.ndarray
    """int64 `[packs]`, where it ends."""

    def __len__(self) -> int:
        return len(self.begins)

    def pack(self, number: int) -> np.ndarray:
        """Places of the rows of one pack."""
        return self.rows[self.begins[number] : self.ends[number]]

    def shuffled(self, seed: int, epoch: int, window: int) -> "PackingPlan":
        """The same packs in a random order, a function of (seed, epoch, window)."""
        order = permutation(len(self), seed, epoch, PACKS, window)
        return PackingPlan(self.rows, self.begins[order], self.ends[order])


def pack_rows(lengths: np.ndarray, capacity: int) -> PackingPlan:
    """Pack rows into as few packs of `capacity` tokens as best-fit decreasing finds.

    Args:
        lengths: int64 `[rows]`, each at most `capacity`; rows of one length are taken in order.
        capacity: tokens of a pack.
    """
    order = _longest_first(lengths)
    pack_of, packs = _best_fit(lengths[order], capacity)
    rows = order[np.argsort(pack_of, kind="stable")]
    bounds = np.concatenate([[0], np.cumsum(np.bincount(pack_of, minlength=packs))])
    return PackingPlan(rows, bounds[:-1], bounds[1:])


def count_packs(lengths: np.ndarray, capacity: int) -> int:
    """How many packs `pack_rows` makes, in less time: their number has nothing to do with order."""
    return int(_best_fit(np.sort(lengths)[::-1], capacity)[1])


def _longest_first(lengths: np.ndarray) -> np.ndarray:
    """Places of rows by falling length, those of one length in order.

    Lengths fit 16 bits, as in the index; of these numpy's stable sort is a radix sort.
    """
    return np.argsort((MAX_LENGTH - lengths).astype(np.uint16), kind="stable")


@kernel
def _best_fit(lengths: np.ndarray, capacity: int) -> tuple[np.ndarray, int]:
    """The pack of each row, in the order given; (int64 `[rows]`, number of packs).

    Packs with the same room left are a linked list; a bitmap says which rooms have one, so the
    least room that suffices is the next set bit.
    """
    pack_of = np.empty(len(lengths), np.int64)
    first = np.full(capacity + 1, -1, np.int64)  # by room, the pack that got it last
    following = np.empty(len(lengths), np.int64)  # the next pack of the same room
    has_pack = np.zeros((capacity >> 6) + 2, np.uint64)
    one = np.uint64(1)
    packs = 0
    for row in range(len(lengths)):
        length = lengths[row]
        word = length >> 6
        bits = has_pack[word] >> np.uint64(length & 63) << np.uint64(length & 63)
        while bits == 0 and word + 1 < len(has_pack):
            word += 1
            bits = has_pack[word]
        if bits == 0:
            pack, room = packs, capacity
            packs += 1
        else:
            room = (word << 6) + np.int64(trailing_zeros(bits))
            pack = first[room]
            first[room] = following[pack]
            if first[room] < 0:
                has_pack[room >> 6] ^= one << np.uint64(room & 63)
        pack_of[row] = pack
        room -= length
        following[pack] = first[room]
        first[room] = pack
        has_pack[room >> 6] |= one << np.uint64(room & 63)
    return pack_of, packs


def padded_width(longest: int, max_length: int) -> int:
    """Width of a padded batch: a multiple of 8, which matrix units like, where that is allowed."""
    return min(-(-longest // 8) * 8, max_length)


def group_rows(lengths: np.ndarray, capacity: int, max_length: int) -> PackingPlan:
    """Group rows of like length into padded batches of at most `capacity` tokens.

    Args:
        lengths: int64 `[rows]`; rows of one length are taken in order.
        capacity: lines times width of a batch, at most.
        max_length: width of a batch, at most.
    """
    rows = _longest_first(lengths)
    begins = []
    begin = 0
    while begin < len(rows):
        begins.append(begin)
        begin += capacity // padded_width(int(lengths[rows[begin]]), max_length)
    bounds = np.array([*begins, len(rows)], np.int64)
    return PackingPlan(rows, bounds[:-1], bounds[1:])
