"""Micro-batches for training and evaluation: window by window, step by step, one thread ahead.

A window's rows are packed by a plan that needs their lengths alone, and the packs dealt out: pack k
of a step goes to rank k % world_size, which locates their rows (and hashes them, if it reads them
for the first time). Nothing here depends on who asks: a
rank, a resume or a prefetch depth changes neither the rows of a step nor their masks.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from preprocess.errors import WholewordError
from train.data.collate import Buffers, MicroBatch
from train.data.masking import Masking
from train.data.mixture import mixed_seed, next_dataset
from train.data.order import epoch_windows, windows_of
from train.data.prefetch import prefetched
from train.data.shard_dataset import ShardDataset
from train.data.windows import Assembler, Cursor, LoaderOptions, Pack

Item = TypeVar("Item")
_SAMPLED_WINDOWS = 8
"""A quarter of a million rows: for an estimate, a large dataset is not planned whole."""


class BufferUse:
    """Who still reads a step's buffers, so that they are not written too early."""

    def __init__(self) -> None:
        self._event: Any = None

    def until(self, event: Any) -> None:
        """The buffers are read until `event.synchronize()` returns; None: no longer."""
        self._event = event

    def wait(self) -> None:
        """Wait until nobody reads them."""
        if self._event is not None:
            self._event.synchronize()


@dataclass(frozen=True)
class Step:
    """One optimizer step's share of one rank."""

    number: int
    """From 0."""
    epoch: int
    """Epoch of the step's first pack; of a mixture, that of its first dataset before the step."""
    micro_batches: list[MicroBatch]
    """`accumulation_at(number)` of them."""
    cursor: Cursor
    """Where the next step starts."""
    sources: list[int] = field(default_factory=list)
    """The number of each micro-batch's dataset in a mixture."""
    use: BufferUse = field(default_factory=BufferUse)
    """Of the micro-batches' buffers: a GPU copies from them after its step was queued."""


class _Source:
    """A dataset of a mixture: its packs in its own order, epoch after epoch without end."""

    def __init__(self, dataset: ShardDataset, options: LoaderOptions) -> None:
        self._dataset = dataset
        self._options = options
        self.assembler = Assembler(dataset, options)
        if not len(dataset):
            raise WholewordError(
                f"{dataset.folder}: the {dataset.part} part has no rows; build shards from "
                "more text"
            )

    def packs(self, start: Cursor) -> Iterator[Pack]:
        """Every pack from `start` on."""
        options = self._options
        epoch, first_window, first_pack = start.epoch, start.window, start.pack
        while True:
            windows = epoch_windows(self._dataset.batch_rows, options.seed, epoch, options.window)
            if first_window >= len(windows):
                raise self._beyond(start)
            for number in range(first_window, len(windows)):
                window = self.assembler.open(epoch, number, windows[number], shuffle=True)
                if number + 1 < len(windows):
                    self._dataset.fetch_ahead(windows[number + 1])
                if first_pack >= len(window.plan):
                    raise self._beyond(start)
                for pack in range(first_pack, len(window.plan)):
                    following = Cursor(epoch, number, pack + 1)
                    if pack + 1 == len(window.plan):
                        following = Cursor(epoch, number + 1, 0)
                        if number + 1 == len(windows):
                            following = Cursor(epoch + 1, 0, 0)
                    yield Pack(window, pack, following)
                first_pack = 0
            first_window = 0
            epoch += 1

    def _beyond(self, start: Cursor) -> WholewordError:
        return WholewordError(
            f"{self._dataset.folder}: has no pack {start.pack} in window {start.window} of an "
            "epoch, where the checkpoint's progress.json says to go on; delete the checkpoint, and "
            "run the same command again"
        )


class Loader:
    """The training micro-batches of one rank, of one dataset or of a mixture; see `steps`.

    Args:
        dataset: the first one.
        options: of all.
        others: more datasets, with the same tokenizer.
        weights: how many tokens of each dataset stand beside how many of the others.
    """

    def __init__(
        self,
        dataset: ShardDataset,
        options: LoaderOptions,
        others: Sequence[ShardDataset] = (),
        weights: Sequence[float] = (1.0,),
    ) -> None:
        """Check that the options fit the datasets.

        Raises:
            WholewordError: no rows, rows too long for a pack, options that exclude each other.
        """
        self._options = options
        self._weights = weights
        self._sources = [
            _Source(each, replace(options, seed=mixed_seed(options.seed, number)))
            for number, each in enumerate((dataset, *others))
        ]

    def steps(self, start: Cursor, first_step: int, total_steps: int) -> Iterator[Step]:
        """This rank's steps `first_step` to `total_steps - 1`, counted from 0.

        Steps run on across epochs. Only the last step of a run does not begin another epoch: what
        it lacks is filled up with empty packs.

        A step's arrays are valid until the step after the next one is asked for; then, and when
        nobody reads them any more (`Step.use`), their buffers are written again. Closing the
        iterator ends its thread; an error in the thread is raised where the step would have come.

        Args:
            start: where `first_step` starts: `Cursor()`, or the cursor of the step before.
            first_step: number of the first step to make, which is the number of steps done.
            total_steps: number of steps of the whole run; p is linear over them.
        """
        options = self._options
        sets = options.prefetch + 3
        buffers = [
            [self._sources[0].assembler.buffers() for _ in range(options.accumulation)]
            for _ in range(sets)
        ]

        uses = [BufferUse() for _ in range(sets)]

        def make() -> Iterator[Step]:
            packs, epoch = self._packs(start), start.epoch
            for number in range(first_step, total_steps):
                masking = options.masking_at(number, total_steps)
                is_last = number == total_steps - 1
                uses[number % sets].wait()
                made = self._step(packs, number, epoch, is_last, masking, buffers[number % sets])
                yield replace(made, use=uses[number % sets])
                epoch = made.cursor.epoch

        return prefetched(make, options.prefetch)

    def _packs(self, start: Cursor) -> Iterator[Pack]:
        """Every pack from `start` on, without end."""
        cursors = list(start.each())
        streams = [s.packs(c) for s, c in zip(self._sources, cursors, strict=True)]
        while True:
            source = next_dataset([cursor.tokens for cursor in cursors], self._weights)
            pack = next(streams[source])
            if len(streams) > 1:
                tokens = cursors[source].tokens + pack.tokens
                cursors[source] = replace(pack.following, tokens=tokens)
                pack = replace(pack, source=source, following=Cursor.joined(cursors))
            yield pack

    def _step(
        self,
        packs: Iterator[Pack],
        number: int,
        epoch: int,
        is_last: bool,
        masking: Masking,
        buffers: list[Buffers],
    ) -> Step:
        """Deal the next packs out and make this rank's."""
        options = self._options
        size = options.accumulation_at(number) * options.world_size
        taken: list[Pack] = []
        for pack in packs:
            taken.append(pack)
            epoch_ends = pack.following.epoch != pack.window.epoch and len(self._sources) == 1
            if len(taken) == size or (is_last and epoch_ends):
                break
        own: list[MicroBatch] = []
        sources: list[int] = []
        for i, k in enumerate(range(options.rank, size, options.world_size)):
            pack_k = taken[k] if k < len(taken) else None
            sources.append(pack_k.source if pack_k else 0)
            assembler = self._sources[sources[-1]].assembler
            own.append(assembler.micro_batch(pack_k, masking, buffers[i]))
        return Step(number, epoch, own, taken[-1].following, sources)


def evenly_spaced(rows: int, most: int) -> np.ndarray:
    """Which of so many rows are taken where at most `most` are wanted: bool, one entry a row."""
    kept = np.zeros(rows, bool)
    kept[np.arange(most) * rows // most] = True
    return kept


def evaluation_batches(
    dataset: ShardDataset, options: LoaderOptions, most_rows: int = 0
) -> Iterator[MicroBatch]:
    """This rank's micro-batches of one pass over a part: every row once, in order of windows.

    The masks are the same at every call: those of epoch 0 and the last probability. Every rank gets
    as many micro-batches as any other, the last one being empty where packs are lacking. A
    micro-batch's arrays are valid until the one after the next is asked for.

    Args:
        dataset: the part.
        options: what micro-batches are made of.
        most_rows: no more rows than these, evenly spaced; 0 for all.

    Raises:
        WholewordError: as `Loader` does; a part without rows has no micro-batches.
    """
    kept = evenly_spaced(len(dataset), most_rows) if 0 < most_rows < len(dataset) else None
    assembler = Assembler(dataset, options, kept)
    masking = options.masking_at(0, 1)
    sets = options.prefetch + 3
    buffers = [assembler.buffers() for _ in range(sets)]

    def packs() -> Iterator[Pack]:
        order = np.arange(dataset.batches)
        windows = windows_of(dataset.batch_rows, order, options.window)
        for number, batches in enumerate(windows):
            if kept is not None and not kept[dataset.rows_of(batches)].any():
                continue
            dataset.fetch_ahead(np.concatenate(windows[number : number + 2]))
            window = assembler.open(0, number, batches, shuffle=False)
            for pack in range(len(window.plan)):
                yield Pack(window, pack, Cursor())

    def make() -> Iterator[MicroBatch]:
        for count, group in enumerate(_groups(packs(), options.world_size)):
            pack = group[options.rank] if options.rank < len(group) else None
            yield assembler.micro_batch(pack, masking, buffers[count % sets])

    return prefetched(make, options.prefetch)


def count_steps(
    dataset: ShardDataset,
    options: LoaderOptions,
    epochs: float,
    others: Sequence[ShardDataset] = (),
    weights: Sequence[float] = (1.0,),
) -> int:
    """Steps that `epochs` epochs take, exactly: every window of every epoch is planned.

    A part of an epoch counts as that share of its packs, rounded up. Of a mixture, epochs are those
    of the first dataset, and the steps are those in which it is read so often, to a pack or two.
    """
    packs = _count_packs(dataset, options, epochs)
    if others:
        tokens = _mean_tokens(dataset, options)
        shares = [weight / weights[0] for weight in weights[1:]]
        packs = packs + round(
            sum(
                packs * tokens * share / _mean_tokens(other, options)
                for other, share in zip(others, shares, strict=True)
            )
        )
    left = math.ceil(packs / options.world_size)
    steps = 0
    while left > 0 and steps < options.batch_warmup:
        left -= options.accumulation_at(steps)
        steps += 1
    return steps + math.ceil(max(0, left) / options.accumulation)


def _count_packs(dataset: ShardDataset, options: LoaderOptions, epochs: float) -> int:
    assembler = Assembler(dataset, options)
    packs = 0
    for epoch in range(math.ceil(epochs)):
        windows = epoch_windows(dataset.batch_rows, options.seed, epoch, options.window)
        of_epoch = sum(assembler.count_packs(batches) for batches in windows)
        packs += math.ceil(of_epoch * min(1.0, epochs - epoch))
    return packs


def _mean_tokens(dataset: ShardDataset, options: LoaderOptions) -> float:
    """Real tokens of a pack, special tokens included."""
    return dataset.tokens / _count_packs(dataset, options, 1)


def expected_passes(
    datasets: Sequence[ShardDataset],
    options: LoaderOptions,
    weights: Sequence[float],
    steps: range,
) -> list[float]:
    """How often each dataset of a mixture is read in some steps of a run.

    Exact to a pack or two where a dataset has few windows, an estimate from some of them else.
    """
    packs = options.world_size * sum(map(options.accumulation_at, steps))
    shares = [weight / sum(weights) for weight in weights]
    means = [_sampled_tokens(dataset, options) for dataset in datasets]
    tokens = packs / sum(share / mean for share, mean in zip(shares, means, strict=True))
    return [tokens * s / dataset.tokens for s, dataset in zip(shares, datasets, strict=True)]


def _sampled_tokens(dataset: ShardDataset, options: LoaderOptions) -> float:
    """`_mean_tokens` in the first windows of an epoch, which are of any part of the dataset."""
    assembler = Assembler(dataset, options)
    windows = epoch_windows(dataset.batch_rows, options.seed, 0, options.window)
    sampled = windows[:_SAMPLED_WINDOWS]
    return sum(map(assembler.count_tokens, sampled)) / sum(map(assembler.count_packs, sampled))


def _groups(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of `size`, the last maybe shorter."""
    while group := list(itertools.islice(items, size)):
        yield group
