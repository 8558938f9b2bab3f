"""What all ranks know of a step: how many tokens it has, and what any of them wants."""

from dataclasses import dataclass

import xxhash
from torch import Tensor

from train.data.loader import Step
from train.engine.process_group import Ranks
from train.model.forward import LossSums, pair_count


@dataclass(frozen=True)
class StepTotals:
    """Sums over the micro-batches of all ranks, and what any rank wants before the step."""

    masked: float
    """Masked tokens, at least 1."""
    pairs: float
    """Rows with a label for the pair head, at least 1."""
    tokens: float
    """Real tokens, special tokens included."""
    rows: float
    """Real rows."""
    stop: bool
    """Some rank was asked to stop."""
    save: bool
    """Some rank says that a checkpoint is due."""
    diverged: bool
    """Some rank's last step went wrong for good."""

    @classmethod
    def over_ranks(
        cls, ranks: Ranks, step: Step | None, stop: bool, save: bool, diverged: bool
    ) -> "StepTotals":
        """Add up, by one all-reduce of scalars; `step` is None behind the last one."""
        batches = step.micro_batches if step else []
        masked, pairs, tokens, rows, stops, saves, diverge = ranks.sum(
            [
                sum(len(batch.labels) for batch in batches),
                sum(pair_count(batch) for batch in batches),
                sum(batch.tokens for batch in batches),
                sum(batch.rows for batch in batches),
                stop,
                save,
                diverged,
            ]
        )
        masked, pairs = max(masked, 1.0), max(pairs, 1.0)
        return cls(masked, pairs, tokens, rows, stops > 0, saves > 0, diverge > 0)

    def mean(self, sums: LossSums) -> Tensor:
        """A micro-batch's share of the step's loss: the ranks' shares add up to the mean."""
        loss = sums.loss_sum / self.masked
        if sums.pair_loss_sum is not None:
            loss = loss + sums.pair_loss_sum / self.pairs
        return loss


def pack_seed(seed: int, step: int, pack: int) -> int:
    """A 63-bit seed for what is random while pack `pack` of a step is computed."""
    return xxhash.xxh3_64_intdigest(f"{seed} {step} {pack}".encode()) >> 1
