"""Windows: rows that are shuffled and packed together, and the micro-batches of their packs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from preprocess.errors import WholewordError
from train.data.collate import (
    BITS_A,
    IDS_A,
    ROW,
    ROW_COLUMNS,
    TOKENS_A,
    Buffers,
    Collator,
    MicroBatch,
    make_buffers,
)
from train.data.masking import Masking, make_masking
from train.data.order import ROWS, permutation
from train.data.packing import PackingPlan, count_packs, group_rows, pack_rows, padded_width
from train.data.pairs import check_pairs, make_pairs
from train.data.shard_dataset import BatchRows, ShardDataset


@dataclass(frozen=True)
class LoaderOptions:
    """What micro-batches are made of."""

    micro_batch_size: int
    """Rows of full length that a micro-batch has room for."""
    max_length: int
    """Tokens of the longest row with its special tokens; a pack holds micro_batch_size times it."""
    accumulation: int = 1
    """Micro-batches of a step on each rank."""
    batch_warmup: int = 0
    """Steps over which the accumulation grows from 1 to its full number."""
    world_size: int = 1
    rank: int = 0
    seed: int = 0
    """Of order, packing and masks."""
    masking: str = "wwm"
    mlm_probability: tuple[float, float] = (0.15, 0.15)
    """Expected share of masked tokens at the first and the last step, linear between; evaluation
    takes the last."""
    mask_replace: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of masked tokens that become the mask, a random id, themselves."""
    layout: Literal["packed", "padded"] = "packed"
    """Padded is for models whose attention cannot be kept within a row of a pack."""
    sentence_order: bool = False
    next_sentence: bool = False
    window: int = 32768
    """Rows, at least, that are shuffled and packed together."""
    prefetch: int = 2
    """Steps (in evaluation: micro-batches) made ahead by a thread; 0 makes them when asked."""
    first_position: int = 0
    """Position id of a row's first token (see `position_offset` of a model)."""
    pin: bool = False
    """Whether buffers are in pinned memory, for asynchronous copies to a GPU."""

    def accumulation_at(self, step: int) -> int:
        """Micro-batches of each rank at `step`, counted from 0."""
        if step >= self.batch_warmup:
            return self.accumulation
        return 1 + (self.accumulation - 1) * step // self.batch_warmup

    def masking_at(self, step: int, total_steps: int) -> Masking:
        """The masking of step `step` of `total_steps`, counted from 0."""
        start, end = self.mlm_probability
        share = step / (total_steps - 1) if total_steps > 1 else 1.0
        return make_masking(self.masking, start + (end - start) * share, self.mask_replace)


_PLACE = {"epoch": 31, "window": 31, "pack": 31, "tokens": 62}
"""The numbers of a cursor, and how many bits each may have."""


def _numbers_of(value: Any, names: set[str]) -> dict[str, int] | None:
    """A cursor's numbers of these names; None where one is missing or out of range."""
    if not isinstance(value, dict):
        return None
    found = {name: value.get(name) for name in names}
    sound = all(type(n) is int and 0 <= n < 1 << _PLACE[name] for name, n in found.items())
    return found if sound else None  # type: ignore[return-value]


@dataclass(frozen=True)
class Cursor:
    """The place of the next pack of a dataset; of a mixture, of each."""

    epoch: int = 0
    window: int = 0
    pack: int = 0
    tokens: int = 0
    """Drawn from this dataset so far, where there are others."""
    others: tuple["Cursor", ...] = ()
    """Of the other datasets of a mixture, in their order."""

    def to_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        place = {"epoch": self.epoch, "window": self.window, "pack": self.pack}
        if not self.others:
            return place
        others = [cursor.to_dict() | {"tokens": cursor.tokens} for cursor in self.others]
        return place | {"tokens": self.tokens, "others": others}

    @classmethod
    def from_dict(cls, value: dict[str, Any], datasets: int = 1) -> "Cursor":
        """From a checkpoint of a run on so many datasets.

        Raises:
            WholewordError: it lacks a number, has another, or one is out of range.
        """
        others = value.get("others", [])
        parts = [value, *others] if isinstance(others, list) else []
        names = set(_PLACE) - {"tokens"} if datasets == 1 else set(_PLACE)
        places = [_numbers_of(part, names) for part in parts]
        known = names if datasets == 1 else {*names, "others"}
        if value.keys() != known or len(places) != datasets or None in places:
            raise WholewordError(
                f"progress.json: its cursor {value} is malformed; delete the checkpoint, and run "
                "the same command again"
            )
        return cls.joined([cls(**place) for place in places if place])  # type: ignore[arg-type]

    def each(self) -> tuple["Cursor", ...]:
        """The cursor of each dataset alone."""
        return (replace(self, others=()), *self.others)

    @classmethod
    def joined(cls, cursors: Sequence["Cursor"]) -> "Cursor":
        """The cursor of a mixture of those of its datasets."""
        return replace(cursors[0], others=tuple(cursors[1:]))

    def back(self, to_epoch: bool) -> "Cursor":
        """The beginning of the present window, or epoch, of each dataset."""
        window = 0 if to_epoch else self.window
        others = tuple(cursor.back(to_epoch) for cursor in self.others)
        return replace(self, window=window, pack=0, others=others)

    def uncounted(self) -> "Cursor":
        """The same place, as if nothing had been drawn: for other weights from here on."""
        return replace(self, tokens=0, others=tuple(c.uncounted() for c in self.others))


@dataclass(frozen=True)
class Window:
    """Rows that are packed together, located; arrays have one entry a row."""

    epoch: int
    table: np.ndarray
    """int64 `[rows, ROW_COLUMNS]`, in the window's shuffled order; where a row lies is filled in
    when its record batch is located."""
    lengths: np.ndarray
    """int64, special tokens included, as the plan counts them."""
    pair_labels: np.ndarray
    plan: PackingPlan
    batches: np.ndarray
    """int64 `[batches]`, numbers of the record batches."""
    batch_of: np.ndarray
    """int64, the place in `batches` of each row's batch."""
    located: dict[int, BatchRows]
    """Batches by their place; they keep the table's addresses valid."""


@dataclass(frozen=True)
class Pack:
    """A pack of a window, and the cursor of the pack after it."""

    window: Window
    number: int
    following: Cursor
    source: int = 0
    """Number of its dataset in a mixture."""

    @property
    def tokens(self) -> int:
        """Real tokens, special tokens included."""
        return int(self.window.lengths[self.window.plan.pack(self.number)].sum())


class Assembler:
    """Opens windows and makes micro-batches of their packs.

    Args:
        dataset: the rows.
        options: what micro-batches are made of.
        kept: bool, one entry a row: those that windows hold; None for all.
    """

    def __init__(
        self, dataset: ShardDataset, options: LoaderOptions, kept: np.ndarray | None = None
    ) -> None:
        special = dataset.manifest.tokenizer
        self._dataset = dataset
        self._options = options
        self._kept = kept
        self._pairs = check_pairs(dataset.manifest, options.sentence_order, options.next_sentence)
        self._extra = len(special.prefix) + len(special.suffix)
        self._extra += len(special.middle) if self._pairs else 0
        self._capacity = options.micro_batch_size * options.max_length
        self._collator = Collator(dataset.manifest, self._pairs, options.first_position)
        longest = dataset.longest_row(options.max_length - self._extra) + self._extra
        if longest > options.max_length:
            raise WholewordError(
                f"{dataset.folder}: rows of {longest} tokens are longer than {options.max_length}; "
                "build the shards again with a smaller --max-length"
            )

    def buffers(self) -> Buffers:
        """Buffers for one micro-batch."""
        max_rows = self._capacity // (self._extra + 1)
        return make_buffers(self._capacity, max_rows, self._options.pin)

    def _plan(
        self, epoch: int, number: int, rows: np.ndarray, lengths: np.ndarray, shuffle: bool
    ) -> tuple[np.ndarray, PackingPlan]:
        """The window's rows in their shuffled order (places in `rows`), and the plan over them."""
        options = self._options
        order = np.arange(len(rows))
        if self._kept is not None:
            order = np.flatnonzero(self._kept[rows])
        elif shuffle:
            order = permutation(len(rows), options.seed, epoch, ROWS, number)
        if options.layout == "packed":
            plan = pack_rows(lengths[order], self._capacity)
        else:
            plan = group_rows(lengths[order], self._capacity, options.max_length)
        return order, plan.shuffled(options.seed, epoch, number) if shuffle else plan

    def count_packs(self, batches: np.ndarray) -> int:
        """How many packs the plan of a window has, which is the same in any order of its rows."""
        lengths = self._lengths(batches)
        if self._options.layout == "packed":
            return count_packs(lengths, self._capacity)
        return len(group_rows(lengths, self._capacity, self._options.max_length))

    def count_tokens(self, batches: np.ndarray) -> int:
        """How many real tokens a window has, special tokens included."""
        return int(self._lengths(batches).sum())

    def _lengths(self, batches: np.ndarray) -> np.ndarray:
        """int64, tokens of each row of some record batches, special tokens included."""
        return self._dataset.lengths_of(batches).astype(np.int64) + self._extra

    def open(self, epoch: int, number: int, batches: np.ndarray, shuffle: bool) -> Window:
        """Shuffle and pack the rows of the window that holds `batches`, by their lengths alone.

        A pair may be of rows of any batch, so with a pair objective all are located at once.
        """
        rows, lengths = self._dataset.rows_of(batches), self._lengths(batches)
        order, plan = self._plan(epoch, number, rows, lengths, shuffle)
        table = np.zeros((len(order), ROW_COLUMNS), np.int64)
        table[:, ROW] = rows[order]
        table[:, TOKENS_A] = lengths[order] - self._extra
        batch_of = np.repeat(np.arange(len(batches)), self._dataset.batch_rows[batches])[order]
        labels = np.empty(len(order) if self._pairs else 0, np.int64)
        window = Window(epoch, table, lengths[order], labels, plan, batches, batch_of, {})
        if self._pairs:
            self.locate(window, np.arange(len(order)))
            located = [window.located[place] for place in range(len(batches))]
            make_pairs(
                table,
                np.concatenate([batch.sentences for batch in located])[order],
                np.concatenate([batch.documents for batch in located])[order],
                self._options.sentence_order,
                self._dataset.manifest.id_dtype.itemsize,
                np.uint64(self._options.seed),
                np.uint64(epoch),
                labels,
            )
        return window

    def locate(self, window: Window, places: np.ndarray) -> None:
        """Locate the record batches of some rows: no others are read by this rank."""
        for place in np.unique(window.batch_of[places]).tolist():
            if place in window.located:
                continue
            batch = self._dataset.locate(int(window.batches[place]))
            own = np.flatnonzero(window.batch_of == place)
            inside = window.table[own, ROW] - batch.first
            window.table[own, IDS_A] = batch.ids[inside]
            window.table[own, BITS_A] = batch.words[inside]
            window.located[place] = batch

    def micro_batch(self, pack: Pack | None, masking: Masking, buffers: Buffers) -> MicroBatch:
        """Make the micro-batch of a pack, or an empty one."""
        options = self._options
        places = np.empty(0, np.int64)
        epoch, longest, table = 0, 1, np.empty((0, ROW_COLUMNS), np.int64)
        if pack is not None:
            window = pack.window
            places = window.plan.pack(pack.number)
            epoch, longest = window.epoch, int(window.lengths[places[0]])
            self.locate(window, places)
            table = window.table[places]
            if self._pairs:
                buffers.pair_labels[: len(places)] = window.pair_labels[places]
        if options.layout == "packed":
            return self._collator.pack(table, buffers, self._capacity, masking, options.seed, epoch)
        width = padded_width(longest, options.max_length)
        return self._collator.pad(table, buffers, width, masking, options.seed, epoch)
