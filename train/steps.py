"""What a rank does in each optimizer step: its micro-batches, and what all ranks know of them."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

import xxhash
from torch import Tensor

from train.health import Health
from train.loader import Loader, Step, count_steps
from train.objective import Guesses, pair_count
from train.ranks import Ranks
from train.schedules import accumulation_at
from train.shard_dataset import ShardDataset
from train.windows import Cursor, LoaderOptions


@dataclass(frozen=True)
class Totals:
    """Sums over the micro-batches of all ranks, and what any of them wants.

    Attributes:
        masked: masked tokens, at least 1.
        pairs: rows with a label for the pair head, at least 1.
        tokens: real tokens, special tokens included.
        rows: real rows.
        stop: some rank was asked to stop.
        save: rank 0's clock says that a checkpoint is due.
        broken: some rank's last step went wrong for good.
    """

    masked: float
    pairs: float
    tokens: float
    rows: float
    stop: bool
    save: bool
    broken: bool

    @classmethod
    def over_ranks(
        cls, ranks: Ranks, step: Step, stop: bool, save: bool, health: Health
    ) -> "Totals":
        """Add up, by one all-reduce."""
        batches = step.micro_batches
        masked, pairs, tokens, rows, stops, saves, breaks = ranks.sum(
            [
                sum(len(batch.labels) for batch in batches),
                sum(pair_count(batch) for batch in batches),
                sum(batch.tokens for batch in batches),
                sum(batch.rows for batch in batches),
                stop,
                save and ranks.first,
                health.broken,
            ]
        )
        masked, pairs = max(masked, 1.0), max(pairs, 1.0)
        return cls(masked, pairs, tokens, rows, stops > 0, saves > 0, breaks > 0)

    def mean(self, guesses: Guesses) -> Tensor:
        """A micro-batch's share of the step's loss: the ranks' shares add up to the mean."""
        loss = guesses.loss_sum / self.masked
        if guesses.pair_loss_sum is not None:
            loss = loss + guesses.pair_loss_sum / self.pairs
        return loss


def pack_seed(seed: int, step: int, pack: int) -> int:
    """A 63-bit seed for what is random while pack `pack` of a step is computed."""
    return xxhash.xxh3_64_intdigest(f"{seed} {step} {pack}".encode()) >> 1


def make_steps(
    dataset: ShardDataset,
    options: LoaderOptions,
    batch_warmup: int,
    cursor: Cursor,
    first: int,
    total: int,
) -> Iterator[Step]:
    """This rank's steps `first` to `total - 1`, smaller ones while the batch size warms up."""
    if not batch_warmup:
        yield from Loader(dataset, options).steps(cursor, first, total)
        return
    sizes = [accumulation_at(step, options.accumulation, batch_warmup) for step in range(total)]
    micro_steps = Loader(dataset, replace(options, accumulation=1)).steps(
        cursor, sum(sizes[:first]), sum(sizes)
    )
    for number in range(first, total):
        # Copies: the loader uses its buffers again after two of its own steps.
        parts = [deepcopy(next(micro_steps)) for _ in range(sizes[number])]
        batches = [batch for part in parts for batch in part.micro_batches]
        yield Step(number, parts[0].epoch, batches, parts[-1].cursor)


def number_of_steps(
    dataset: ShardDataset, options: LoaderOptions, batch_warmup: int, epochs: float
) -> int:
    """Steps that `epochs` epochs take when the batch size warms up over `batch_warmup` of them."""
    if not batch_warmup:
        return count_steps(dataset, options, epochs)
    left = count_steps(dataset, replace(options, accumulation=1), epochs)
    steps = 0
    while left > 0 and steps < batch_warmup:
        left -= accumulation_at(steps, options.accumulation, batch_warmup)
        steps += 1
    return steps + max(0, -(-left // options.accumulation))
