"""Which tokens of a row are predicted, and what the model sees in their place.

Every strategy chooses whole units, each with probability p whatever its length, so the expected
share of chosen tokens is p:

- `wwm`: each word on its own (Google's whole-word masking).
- `token`: each token on its own (BERT's first masking).
- `span`: runs of words, lengths geometric with p = 0.2, at most 10 (SpanBERT, Joshi et al. 2020).
- `ngram`: runs of 1, 2, 3, 4 words at 40, 30, 20, 10% (MacBERT, Cui et al. 2020).

Choice is bit-sliced. Token i of a row owns a 32-bit number whose bit 31 - k is bit i % 64 of plane
k of token group i // 64; the planes are Philox words (see philox). A word whose first token owns a
number below p * 2**32 is chosen, so raising p only adds words. 64 tokens are compared at once, and
since a comparison is nearly always settled by the first 8 planes, the others are seldom made.

`span` and `ngram` alternate runs of chosen words with gaps of at least one word, gaps being
geometric: after the first word of a gap each word begins a run if its number is below
theta * 2**32, theta = p / (E[length] (1 - p)), which makes the share of chosen words p. The process
is stationary: a row begins inside a run with probability p, and then the run's rest has the
distribution P(rest = r) = P(length >= r) / E[length]; the first word too is chosen with
probability p. theta <= 1 bounds p at E[length] / (E[length] + 1).

Each chosen token, on its own, becomes the mask, a random id that is not special, or stays itself.
`tests/train/data/masking_reference.py` says all this again in plain Python; the two agree bit for
bit.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from preprocess.errors import WholewordError
from preprocess.kernels import kernel
from train.data.bits import Int, count_ones, trailing_zeros
from train.data.philox import CHOOSE, CHOOSE_DEEP, REPLACE, STRUCTURE, fill_blocks
from train.options import check_probability, check_replacements

STRATEGIES = ("wwm", "token", "span", "ngram")
ONE = 1 << 32
SPAN_LENGTHS = tuple(0.2 * 0.8**k for k in range(10))
NGRAM_LENGTHS = (0.4, 0.3, 0.2, 0.1)

# Places in the array of numbers that the kernels read.
SEED, EPOCH, STRATEGY, CHOOSE_BELOW, START_BELOW, MASK_BELOW, RANDOM_BELOW, MASK_ID = range(8)
SETTINGS = 8

_WWM, _TOKEN = 0, 1
_ZERO, _U1, _U32, _U63, _U64 = (np.uint64(n) for n in (0, 1, 32, 63, 64))
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_LOW = np.uint64(0xFFFFFFFF)
_LOW_24 = np.uint64(0xFFFFFF)


@dataclass(frozen=True)
class Masking:
    """A masking, as the integers that 32-bit numbers are compared with (2**32 is certainty)."""

    strategy: str
    choose_below: int
    """A unit (in `span` and `ngram`: a run) is chosen (begins) if its number is below."""
    start_below: int
    """`span` and `ngram`: the row begins inside a run if its number is below."""
    lengths: tuple[int, ...]
    """Cumulative distribution of a run's length: entry k - 1 is P(length <= k) * 2**32."""
    rests: tuple[int, ...]
    """The same of the rest of a run that a row begins in."""
    mask_below: int
    """A chosen token becomes the mask if its number is below."""
    random_below: int
    """Else a random id if below this, else it stays itself."""


@lru_cache(maxsize=1024)
def make_masking(
    strategy: str, probability: float, replace: tuple[float, float, float] = (0.8, 0.1, 0.1)
) -> Masking:
    """Turn options into integers.

    Args:
        strategy: one of `STRATEGIES`.
        probability: p, the expected share of chosen tokens.
        replace: shares of chosen tokens that become the mask, a random id, themselves.

    Raises:
        WholewordError: an unknown strategy, a share outside what can be had.
    """
    if strategy not in STRATEGIES:
        raise WholewordError(f"--masking: no strategy {strategy!r}; take one of {STRATEGIES}")
    check_probability(probability)
    check_replacements(replace)
    lengths: tuple[float, ...] = (1.0,)
    choose, rests = probability, lengths
    if strategy in ("span", "ngram"):
        choose, lengths, rests = _renewal(strategy, probability)
    return Masking(
        strategy,
        round(choose * ONE),
        round(probability * ONE),
        _cumulative(lengths),
        _cumulative(rests),
        round(replace[0] * ONE),
        min(ONE, round((replace[0] + replace[1]) * ONE)),
    )


def _renewal(
    strategy: str, probability: float
) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """theta, the distribution of run lengths and that of rests (see the module's docstring)."""
    weights = SPAN_LENGTHS if strategy == "span" else NGRAM_LENGTHS
    lengths = tuple(weight / sum(weights) for weight in weights)
    mean = sum((k + 1) * share for k, share in enumerate(lengths))
    highest = mean / (mean + 1)
    if probability > highest:
        raise WholewordError(
            f"--mlm-probability: {probability} is too high for --masking {strategy}, whose runs "
            f"are kept apart; take at most {highest:.2f}"
        )
    rests = tuple(sum(lengths[k:]) / mean for k in range(len(lengths)))
    return probability / (mean * (1 - probability)), lengths, rests


def _cumulative(shares: tuple[float, ...]) -> tuple[int, ...]:
    cumulative = [min(ONE, round(sum(shares[: k + 1]) * ONE)) for k in range(len(shares))]
    return (*cumulative[:-1], ONE)


def settings_array(masking: Masking, seed: int, epoch: int, mask_id: int) -> np.ndarray:
    """The numbers that the kernels read: uint64 `[SETTINGS]`."""
    settings = np.zeros(SETTINGS, np.uint64)
    settings[SEED] = seed & 0xFFFFFFFFFFFFFFFF
    settings[EPOCH] = epoch
    settings[STRATEGY] = STRATEGIES.index(masking.strategy)
    settings[CHOOSE_BELOW] = masking.choose_below
    settings[START_BELOW] = masking.start_below
    settings[MASK_BELOW] = masking.mask_below
    settings[RANDOM_BELOW] = masking.random_below
    settings[MASK_ID] = mask_id
    return settings


def runs_array(masking: Masking) -> np.ndarray:
    """Cumulative lengths (0) and rests (1) of runs: uint64 `[2, longest run]`."""
    return np.array([masking.lengths, masking.rests], np.uint64)


def random_ids(vocab_size: int, special_ids: tuple[int, ...]) -> np.ndarray:
    """The ids that a random replacement draws from, uniformly: uint32, ascending."""
    kept = np.ones(vocab_size, np.bool_)
    kept[[special for special in special_ids if special < vocab_size]] = False
    if not kept.any():
        raise WholewordError("manifest.json: every id is special; build the shards again")
    return np.flatnonzero(kept).astype(np.uint32)


def scratch_words(max_tokens: int) -> int:
    """Length of each of the three scratch arrays (uint64) for rows of up to `max_tokens`."""
    return max(8 * (max_tokens // 64 + 3), max_tokens + 16)


@kernel
def _compare(
    random: np.ndarray, first: int, threshold: np.uint64, below: np.uint64, equal: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """Go on comparing numbers with a threshold by 8 planes, from plane `first`."""
    for plane in range(8):
        bit = _ZERO - ((threshold >> np.uint64(31 - first - plane)) & _U1)
        below |= equal & ~random[plane] & bit
        equal &= ~(random[plane] ^ bit)
    return below, equal


@kernel
def _below(
    planes: np.ndarray,
    group: int,
    groups: int,
    wanted: np.uint64,
    threshold: np.uint64,
    row: np.uint64,
    settings: np.ndarray,
) -> np.uint64:
    """The bits of `wanted` whose tokens own a number below `threshold`.

    `planes` hold the first 8 planes of every group, then room for 8 deeper ones.
    """
    if threshold >> _U32 != _ZERO:
        return wanted
    shallow = planes[8 * group : 8 * group + 8]
    below, equal = _compare(shallow, 0, threshold, _ZERO, wanted)
    if equal == _ZERO or threshold & _LOW_24 == _ZERO:
        return below
    deep = planes[8 * groups : 8 * groups + 8]
    for quarter in range(3):
        first = CHOOSE_DEEP + np.uint64(12 * group + 4 * quarter)
        fill_blocks(deep, 4, first, settings[EPOCH], row, settings[SEED])
        below, equal = _compare(deep, 8 + 8 * quarter, threshold, below, equal)
        if equal == _ZERO:
            break
    return below


@kernel
def _run_length(
    number: int,
    row: np.uint64,
    runs: np.ndarray,
    rest: int,
    cache: np.ndarray,
    settings: np.ndarray,
) -> int:
    """Length in words of the row's run that draws the `number`-th structure number, from 1."""
    if number & 3 == 0:
        first = STRUCTURE + np.uint64(1 + (number >> 2))
        fill_blocks(cache, 1, first, settings[EPOCH], row, settings[SEED])
    drawn = (cache[(number >> 1) & 1] >> np.uint64(32 * (number & 1))) & _LOW
    length = 1
    for k in range(runs.shape[1]):
        length += drawn >= runs[rest, k]
    return length


@kernel
def _choose_runs(
    starts: np.ndarray,
    groups: int,
    row: np.uint64,
    runs: np.ndarray,
    planes: np.ndarray,
    chosen: np.ndarray,
    settings: np.ndarray,
) -> None:
    """Choose runs of words: `chosen` gets the bits of the chosen words' first tokens."""
    cache = planes[8 * groups + 8 : 8 * groups + 10]
    fill_blocks(cache, 1, STRUCTURE + _U1, settings[EPOCH], row, settings[SEED])
    left = 0  # words that the current run still takes
    pause = True  # the first word of a gap begins no run
    drawn = 1
    if cache[0] & _LOW < settings[START_BELOW]:
        left = _run_length(drawn, row, runs, 1, cache, settings)
        drawn += 1
    for group in range(groups):
        words = starts[group]
        begins = _below(planes, group, groups, words, settings[CHOOSE_BELOW], row, settings)
        taken = _ZERO
        while words != _ZERO:
            word = words & (_ZERO - words)
            words ^= word
            if left == 0 and not pause and begins & word != _ZERO:
                left = _run_length(drawn, row, runs, 0, cache, settings)
                drawn += 1
            if left > 0:
                taken |= word
                left -= 1
                pause = left == 0
            else:
                pause = False
        chosen[group] = taken


@kernel
def choose_tokens(
    starts: np.ndarray,
    tokens: int,
    row: np.uint64,
    runs: np.ndarray,
    planes: np.ndarray,
    chosen: np.ndarray,
    settings: np.ndarray,
) -> None:
    """Choose a row's tokens: bit i % 64 of `chosen[i // 64]` is set if token i is chosen.

    Args:
        starts: uint64, bit i % 64 of entry i // 64 is set if token i begins a word; no bit from
            `tokens` on.
        tokens: how many tokens the row has.
        row: uint64, its number in the part.
        runs: see `runs_array`.
        planes: uint64 scratch, `scratch_words` long.
        chosen: uint64, the result.
        settings: see `settings_array`.
    """
    groups = (tokens + 63) >> 6
    fill_blocks(planes, 4 * groups, CHOOSE, settings[EPOCH], row, settings[SEED])
    strategy = settings[STRATEGY]
    if strategy > _TOKEN:
        _choose_runs(starts, groups, row, runs, planes, chosen, settings)
    carry = _ZERO
    for group in range(groups):
        inside = _ALL
        if group == groups - 1:
            inside = _ALL >> np.uint64((64 - (tokens & 63)) & 63)
        if strategy == _TOKEN:
            chosen[group] = _below(
                planes, group, groups, inside, settings[CHOOSE_BELOW], row, settings
            )
            continue
        first = chosen[group]
        if strategy == _WWM:
            first = _below(
                planes, group, groups, starts[group], settings[CHOOSE_BELOW], row, settings
            )
        # A chosen word's other tokens are the run of zeros in `starts` after its first token;
        # adding a one at the begin of a run of ones clears exactly that run.
        others = ~starts[group]
        touched = ((first << _U1) | carry) & others
        both = first | (others & ~(others + touched))
        carry = both >> _U63
        chosen[group] = both & inside


@kernel
def list_chosen(
    starts: np.ndarray,
    chosen: np.ndarray,
    tokens: int,
    base: Int,
    split: int,
    gap: int,
    masked: int,
    word: int,
    positions: np.ndarray,
    words: np.ndarray,
) -> tuple[int, int]:
    """Append a row's chosen tokens to the batch's lists.

    Args:
        starts: as in `choose_tokens`.
        chosen: its result.
        tokens: as there.
        base: where the row's first token lies in the batch.
        split: the token from which on the others lie further.
        gap: by how much.
        masked: tokens that the lists hold so far.
        word: number of the last masked word so far, -1 if none.
        positions: int64, flat index of each chosen token.
        words: int32, number of the masked word that each belongs to.

    Returns:
        (masked, word) after the row.
    """
    seen = _ZERO  # words that began in earlier groups
    last = _ALL
    for group in range((tokens + 63) >> 6):
        begins = starts[group]
        bits = chosen[group]
        while bits != _ZERO:
            place = trailing_zeros(bits)
            through = bits ^ (bits - _U1)  # all bits up to this one
            bits &= bits - _U1
            rank = seen + count_ones(begins & through)
            word += rank != last
            last = rank
            token = 64 * group + np.int64(place)
            positions[masked] = base + token + (gap if token >= split else 0)
            words[masked] = word
            masked += 1
        seen += count_ones(begins)
    return masked, word


@kernel
def replace_chosen(
    input_ids: np.ndarray,
    positions: np.ndarray,
    labels: np.ndarray,
    row: np.uint64,
    draws: np.ndarray,
    ids: np.ndarray,
    settings: np.ndarray,
) -> None:
    """Note the ids of a row's chosen tokens as `labels`, and replace them in `input_ids`.

    The bias of a random id, drawn as `number * len(ids) >> 32`, is below len(ids) / 2**32.
    """
    count = len(positions)
    blocks = (count + 7) // 8 * 4  # whole SIMD vectors
    fill_blocks(draws, blocks, REPLACE, settings[EPOCH], row, settings[SEED])
    choices = np.uint64(len(ids))
    mask_below = settings[MASK_BELOW]
    random_below = settings[RANDOM_BELOW]
    mask = np.int64(settings[MASK_ID])
    for j in range(count):
        kind = draws[j] & _LOW
        other = np.int64(ids[((draws[j] >> _U32) * choices) >> _U32])
        position = np.uint64(positions[j])
        label = input_ids[position]
        labels[j] = label
        # Selection by bits: branches on random numbers would be guessed wrong.
        seen = label ^ ((label ^ other) & -np.int64(kind < random_below))
        input_ids[position] = seen ^ ((seen ^ mask) & -np.int64(kind < mask_below))
