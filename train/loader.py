"""Micro-batches for training and evaluation: window by window, step by step, one thread ahead.

A window's rows are located (and hashed, if read for the first time), packed by a plan, and the
packs dealt out: pack k of a step goes to rank k % world_size. Nothing here depends on who asks: a
rank, a resume or a prefetch depth changes neither the rows of a step nor their masks.
"""

import itertools
import math
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal, TypeVar

import numpy as np

from preprocess.errors import WholewordError
from train.collate import (
    BITS_A,
    COLUMNS,
    IDS_A,
    ROW,
    TOKENS_A,
    Buffers,
    Collator,
    MicroBatch,
    make_buffers,
)
from train.masking import Masking, make_masking
from train.order import ROWS, epoch_windows, permutation, windows_of
from train.packing import Plan, group_rows, pack_rows, padded_width
from train.pair_objectives import check_pairs, make_pairs
from train.shard_dataset import BatchRows, ShardDataset

Item = TypeVar("Item")


@dataclass(frozen=True)
class LoaderOptions:
    """What micro-batches are made of."""

    micro_batch_size: int
    """Rows of full length that a micro-batch has room for."""
    max_length: int
    """Tokens of the longest row, special tokens included; a pack holds micro_batch_size times it."""
    accumulation: int = 1
    """Micro-batches of a step on each rank."""
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
    pin: bool = False
    """Whether buffers are in pinned memory, for asynchronous copies to a GPU."""

    def masking_at(self, step: int, total_steps: int) -> Masking:
        """The masking of step `step` of `total_steps`, counted from 0."""
        start, end = self.mlm_probability
        share = step / (total_steps - 1) if total_steps > 1 else 1.0
        return make_masking(self.masking, start + (end - start) * share, self.mask_replace)


@dataclass(frozen=True)
class Cursor:
    """The place of the next pack."""

    epoch: int = 0
    window: int = 0
    pack: int = 0

    def to_dict(self) -> dict[str, int]:
        """For a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, int]) -> "Cursor":
        """From a checkpoint."""
        return cls(**value)


@dataclass(frozen=True)
class Step:
    """One optimizer step's share of one rank."""

    number: int
    """From 0."""
    epoch: int
    """Epoch of the step's first pack."""
    micro_batches: list[MicroBatch]
    """`accumulation` of them."""
    cursor: Cursor
    """Where the next step starts."""


class Loader:
    """The training micro-batches of one rank; see `steps`."""

    def __init__(self, dataset: ShardDataset, options: LoaderOptions) -> None:
        """Check that the options fit the dataset.

        Raises:
            WholewordError: no rows, rows too long for a pack, options that exclude each other.
        """
        self._dataset = dataset
        self._options = options
        self._assembler = _Assembler(dataset, options)
        if not len(dataset):
            raise WholewordError(
                f"{dataset.folder}: the {dataset.part} part has no rows; build shards from more text"
            )

    def steps(self, start: Cursor, first_step: int, total_steps: int) -> Iterator[Step]:
        """This rank's steps `first_step` to `total_steps - 1`, counted from 0.

        Steps run on across epochs. Only the last step of a run does not begin another epoch: what
        it lacks is filled up with empty packs.

        A step's arrays are valid until the step after the next one is asked for; then their
        buffers are written again. Closing the iterator ends its thread; an error in the thread is
        raised where the step would have come.

        Args:
            start: where `first_step` starts: `Cursor()`, or the cursor of the step before.
            first_step: number of the first step to make, which is the number of steps done.
            total_steps: number of steps of the whole run; p is linear over them.
        """
        options = self._options
        sets = options.prefetch + 3
        buffers = [
            [self._assembler.buffers() for _ in range(options.accumulation)] for _ in range(sets)
        ]

        def make() -> Iterator[Step]:
            packs = self._packs(start)
            for number in range(first_step, total_steps):
                masking = options.masking_at(number, total_steps)
                is_last = number == total_steps - 1
                yield self._step(packs, number, is_last, masking, buffers[number % sets])

        return prefetched(make, options.prefetch)

    def _packs(self, start: Cursor) -> Iterator["_Pack"]:
        """Every pack from `start` on, epoch after epoch without end."""
        options = self._options
        epoch, first_window, first_pack = start.epoch, start.window, start.pack
        while True:
            windows = epoch_windows(self._dataset.batch_rows, options.seed, epoch, options.window)
            for number in range(first_window, len(windows)):
                window = self._assembler.open(epoch, number, windows[number], shuffle=True)
                for pack in range(first_pack, len(window.plan)):
                    following = Cursor(epoch, number, pack + 1)
                    if pack + 1 == len(window.plan):
                        following = Cursor(epoch, number + 1, 0)
                        if number + 1 == len(windows):
                            following = Cursor(epoch + 1, 0, 0)
                    yield _Pack(window, pack, following)
                first_pack = 0
            first_window = 0
            epoch += 1

    def _step(
        self,
        packs: Iterator["_Pack"],
        number: int,
        is_last: bool,
        masking: Masking,
        buffers: list[Buffers],
    ) -> Step:
        """Deal the next packs out and make this rank's."""
        options = self._options
        size = options.accumulation * options.world_size
        taken: list[_Pack] = []
        for pack in packs:
            taken.append(pack)
            epoch_ends = pack.following.epoch != pack.window.epoch
            if len(taken) == size or (is_last and epoch_ends):
                break
        own = [
            self._assembler.micro_batch(taken[k] if k < len(taken) else None, masking, buffers[i])
            for i, k in enumerate(range(options.rank, size, options.world_size))
        ]
        return Step(number, taken[0].window.epoch, own, taken[-1].following)


def evaluation_batches(dataset: ShardDataset, options: LoaderOptions) -> Iterator[MicroBatch]:
    """This rank's micro-batches of one pass over a part: every row once, in order of windows.

    The masks are the same at every call: those of epoch 0 and the last probability. Every rank gets
    as many micro-batches as any other, the last one being empty where packs are lacking. A
    micro-batch's arrays are valid until the one after the next is asked for.

    Raises:
        WholewordError: as `Loader` does; a part without rows has no micro-batches.
    """
    assembler = _Assembler(dataset, options)
    masking = options.masking_at(0, 1)
    sets = options.prefetch + 3
    buffers = [assembler.buffers() for _ in range(sets)]

    def packs() -> Iterator[_Pack]:
        order = np.arange(dataset.batches)
        for number, batches in enumerate(windows_of(dataset.batch_rows, order, options.window)):
            window = assembler.open(0, number, batches, shuffle=False)
            for pack in range(len(window.plan)):
                yield _Pack(window, pack, Cursor())

    def make() -> Iterator[MicroBatch]:
        for count, group in enumerate(_groups(packs(), options.world_size)):
            pack = group[options.rank] if options.rank < len(group) else None
            yield assembler.micro_batch(pack, masking, buffers[count % sets])

    return prefetched(make, options.prefetch)


def count_steps(dataset: ShardDataset, options: LoaderOptions, epochs: float) -> int:
    """Steps that `epochs` epochs take, exactly: every window of every epoch is planned.

    A part of an epoch counts as that share of its packs, rounded up.
    """
    assembler = _Assembler(dataset, options)
    packs = 0
    for epoch in range(math.ceil(epochs)):
        windows = epoch_windows(dataset.batch_rows, options.seed, epoch, options.window)
        of_epoch = sum(
            len(assembler.plan(epoch, number, dataset.rows_of(batches), shuffle=True)[1])
            for number, batches in enumerate(windows)
        )
        packs += math.ceil(of_epoch * min(1.0, epochs - epoch))
    return math.ceil(packs / (options.accumulation * options.world_size))


@dataclass(frozen=True)
class _Window:
    """Rows that are packed together, located; arrays have one entry a row."""

    epoch: int
    table: np.ndarray
    """int64 `[rows, COLUMNS]`, in the window's shuffled order."""
    lengths: np.ndarray
    """int64, special tokens included, as the plan counts them."""
    pair_labels: np.ndarray
    plan: Plan
    keep: list[BatchRows]
    """What keeps the table's addresses valid."""


@dataclass(frozen=True)
class _Pack:
    """A pack of a window, and the cursor of the pack after it."""

    window: _Window
    number: int
    following: Cursor


class _Assembler:
    """Opens windows and makes micro-batches of their packs."""

    def __init__(self, dataset: ShardDataset, options: LoaderOptions) -> None:
        special = dataset.manifest.tokenizer
        self._dataset = dataset
        self._options = options
        self._pairs = check_pairs(dataset.manifest, options.sentence_order, options.next_sentence)
        self._extra = len(special.prefix) + len(special.suffix)
        self._extra += len(special.middle) if self._pairs else 0
        self._capacity = options.micro_batch_size * options.max_length
        self._collator = Collator(dataset.manifest, self._pairs)
        longest = int(dataset.lengths.max(initial=0)) + self._extra
        if longest > options.max_length:
            raise WholewordError(
                f"{dataset.folder}: rows of {longest} tokens are longer than {options.max_length}; "
                "build the shards again with a smaller --max-length"
            )

    def buffers(self) -> Buffers:
        """Buffers for one micro-batch."""
        max_rows = self._capacity // (self._extra + 1)
        return make_buffers(self._capacity, max_rows, self._options.pin)

    def plan(
        self, epoch: int, number: int, rows: np.ndarray, shuffle: bool
    ) -> tuple[np.ndarray, Plan]:
        """The window's rows in their shuffled order (places in `rows`), and the plan over them."""
        options = self._options
        order = np.arange(len(rows))
        if shuffle:
            order = permutation(len(rows), options.seed, epoch, ROWS, number)
        lengths = self._dataset.lengths[rows[order]].astype(np.int64) + self._extra
        if options.layout == "packed":
            plan = pack_rows(lengths, self._capacity)
        else:
            plan = group_rows(lengths, self._capacity, options.max_length)
        return order, plan.shuffled(options.seed, epoch, number) if shuffle else plan

    def open(self, epoch: int, number: int, batches: np.ndarray, shuffle: bool) -> _Window:
        """Locate, shuffle and pack the rows of the window that holds `batches`."""
        rows = self._dataset.rows_of(batches)
        order, plan = self.plan(epoch, number, rows, shuffle)
        located = [self._dataset.locate(int(batch)) for batch in batches]
        table = np.zeros((len(rows), COLUMNS), np.int64)
        table[:, ROW] = rows
        table[:, IDS_A] = np.concatenate([batch.ids for batch in located])
        table[:, BITS_A] = np.concatenate([batch.words for batch in located])
        table[:, TOKENS_A] = np.concatenate([batch.lengths for batch in located])
        table = table[order]
        labels = np.empty(len(rows) if self._pairs else 0, np.int64)
        if self._pairs:
            make_pairs(
                table,
                np.concatenate([batch.sentences for batch in located])[order],
                self._options.sentence_order,
                self._dataset.manifest.id_dtype.itemsize,
                np.uint64(self._options.seed),
                np.uint64(epoch),
                labels,
            )
        lengths = self._dataset.lengths[rows[order]].astype(np.int64) + self._extra
        return _Window(epoch, table, lengths, labels, plan, located)

    def micro_batch(self, pack: _Pack | None, masking: Masking, buffers: Buffers) -> MicroBatch:
        """Make the micro-batch of a pack, or an empty one."""
        options = self._options
        places = np.empty(0, np.int64)
        epoch, longest, table = 0, 1, np.empty((0, COLUMNS), np.int64)
        if pack is not None:
            window = pack.window
            places = window.plan.pack(pack.number)
            epoch, longest = window.epoch, int(window.lengths[places[0]])
            table = window.table[places]
            if self._pairs:
                buffers.pair_labels[: len(places)] = window.pair_labels[places]
        if options.layout == "packed":
            return self._collator.pack(table, buffers, self._capacity, masking, options.seed, epoch)
        width = padded_width(longest, options.max_length)
        return self._collator.pad(table, buffers, width, masking, options.seed, epoch)


def _groups(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of `size`, the last maybe shorter."""
    while group := list(itertools.islice(items, size)):
        yield group


def prefetched(make: Callable[[], Iterator[Item]], depth: int) -> Iterator[Item]:
    """The items of `make()`, made up to `depth` ahead by a thread; by the caller if 0.

    An error in the thread is raised where its item would have come. The thread ends when the
    iterator is exhausted, closed or dropped.
    """
    if depth == 0:
        yield from make()
        return
    ready: queue.Queue[Item | _End] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Item | _End) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        end = _End(None)
        try:
            for item in make():
                put(item)
                if stopped.is_set():
                    return
        except BaseException as error:
            end = _End(error)
        put(end)

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        thread.join()


@dataclass(frozen=True)
class _End:
    """Nothing more comes, because of `error` if there is one."""

    error: BaseException | None
