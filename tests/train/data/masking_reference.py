"""Masking in plain Python: the oracle that `masking`'s kernels equal bit for bit.

It follows the draw layout of `philox` number by number, and shares nothing with the kernels but
the thresholds of `Masking`.
"""

from collections.abc import Sequence

from train.data.masking import Masking

_LOW = 0xFFFFFFFF
CHOOSE, CHOOSE_DEEP, REPLACE, STRUCTURE = (purpose << 30 for purpose in range(4))


def philox_block(counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 of four 32-bit counter words and two key words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (second >> 32) ^ c1 ^ k0, second & _LOW, (first >> 32) ^ c3 ^ k1, first
        c3 &= _LOW
        k0, k1 = (k0 + 0x9E3779B9) & _LOW, (k1 + 0xBB67AE85) & _LOW
    return c0, c1, c2, c3


class RowNumbers:
    """The random numbers of one row in one epoch."""

    def __init__(self, seed: int, epoch: int, row: int) -> None:
        self._key = (seed & _LOW, seed >> 32 & _LOW)
        self._rest = (epoch, row & _LOW, row >> 32)

    def block(self, draw: int) -> tuple[int, int, int, int]:
        """The four numbers of a block."""
        return philox_block((draw, *self._rest), self._key)

    def choice(self, token: int) -> int:
        """The number that token `token` owns: a bit from each of 32 planes."""
        group, bit = divmod(token, 64)
        number = 0
        for plane in range(32):
            pair, second = divmod(plane, 2)
            shallow = pair < 4
            draw = CHOOSE + 4 * group + pair if shallow else CHOOSE_DEEP + 12 * group + pair - 4
            block = self.block(draw)
            word = block[2 * second] | block[2 * second + 1] << 32
            number = number << 1 | (word >> bit & 1)
        return number

    def structure(self, number: int) -> int:
        """Structure number `number`: 0 says whether the row begins in a run, others its runs."""
        return self.block(STRUCTURE + 1 + number // 4)[number % 4]

    def replacement(self, chosen: int) -> tuple[int, int]:
        """The kind's and the id's number for the row's `chosen`-th chosen token."""
        block = self.block(REPLACE + chosen // 2)
        return block[2 * (chosen % 2)], block[2 * (chosen % 2) + 1]


def choose(masking: Masking, starts: Sequence[bool], numbers: RowNumbers) -> list[bool]:
    """Which tokens of a row are chosen; `starts[i]` is true when token i begins a word."""
    if masking.strategy == "token":
        return [numbers.choice(token) < masking.choose_below for token in range(len(starts))]
    begins = [token for token, start in enumerate(starts) if start]
    if masking.strategy == "wwm":
        taken = [numbers.choice(token) < masking.choose_below for token in begins]
    else:
        taken = _choose_runs(masking, begins, numbers)
    chosen = [False] * len(starts)
    for word, begin in enumerate(begins):
        end = begins[word + 1] if word + 1 < len(begins) else len(starts)
        chosen[begin:end] = [taken[word]] * (end - begin)
    return chosen


def _choose_runs(masking: Masking, begins: Sequence[int], numbers: RowNumbers) -> list[bool]:
    taken: list[bool] = []
    number = 1
    if numbers.structure(0) < masking.start_below:
        taken += [True] * _length(masking.rests, numbers.structure(number))
        number += 1
    while len(taken) < len(begins):
        taken.append(False)
        while len(taken) < len(begins):
            if numbers.choice(begins[len(taken)]) < masking.choose_below:
                taken += [True] * _length(masking.lengths, numbers.structure(number))
                number += 1
                break
            taken.append(False)
    return taken[: len(begins)]


def _length(cumulative: Sequence[int], number: int) -> int:
    return 1 + sum(number >= bound for bound in cumulative)


def replace(
    masking: Masking,
    ids: Sequence[int],
    chosen: Sequence[bool],
    mask_id: int,
    random_ids: Sequence[int],
    numbers: RowNumbers,
) -> list[int]:
    """The row as the model sees it."""
    result = list(ids)
    order = [token for token, is_chosen in enumerate(chosen) if is_chosen]
    for rank, token in enumerate(order):
        kind, other = numbers.replacement(rank)
        if kind < masking.mask_below:
            result[token] = mask_id
        elif kind < masking.random_below:
            result[token] = int(random_ids[other * len(random_ids) >> 32])
    return result
