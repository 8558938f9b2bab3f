"""How well a model fills masks: loss and accuracies, and what token frequencies alone would do."""

import ctypes
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from train.data.collate import MicroBatch
from train.data.shard_dataset import ShardDataset
from train.engine.process_group import Ranks
from train.model.forward import forward_micro_batch

_COUNTED_BATCHES = 64  # record batches of 4,096 rows: enough for frequencies, a second's work


@dataclass(frozen=True)
class Scores:
    """Means over the masked tokens (and words) of a part; losses in nats."""

    loss: float
    """Cross-entropy."""
    accuracy: float
    """Share of masked tokens whose likeliest token is the original."""
    word_accuracy: float
    """Share of masked words of which every token is correct."""
    unigram_loss: float
    """Cross-entropy of the same tokens under the training tokens' frequencies."""
    commonest_share: float
    """Share of the same tokens that are the commonest training token."""
    masked: int
    """How many tokens this is about."""

    @property
    def perplexity(self) -> float:
        """E to the loss."""
        return perplexity(self.loss)

    def as_dict(self) -> dict[str, float]:
        """Every score, the perplexity too."""
        return asdict(self) | {
            "perplexity": self.perplexity,
            "unigram_perplexity": perplexity(self.unigram_loss),
        }


def perplexity(loss: float) -> float:
    """E to a loss in nats; beyond e^700 a float ends."""
    return math.exp(min(loss, 700.0))


def format_perplexity(perplexity: float) -> str:
    """A perplexity for people: of a model that has diverged it has hundreds of digits."""
    return f"{perplexity:.1f}" if perplexity < 1e6 else f"{perplexity:.1e}"


def token_frequencies(dataset: ShardDataset) -> np.ndarray:
    """Log-probability of every token, fp64 `[vocab_size]`, from counts in the training rows.

    One is added to every count (Laplace), so that no token is impossible. Long data sets are
    sampled: evenly spaced record batches.
    """
    counts = np.ones(dataset.manifest.tokenizer.vocab_size)
    total = dataset.batches
    for number in np.unique(np.linspace(0, total - 1, min(total, _COUNTED_BATCHES)).astype(int)):
        counts += np.bincount(_ids(dataset, int(number)), minlength=len(counts))
    return np.log(counts / counts.sum())


def _ids(dataset: ShardDataset, batch: int) -> np.ndarray:
    """The ids of a whole record batch, whose rows lie end to end in memory."""
    rows = dataset.locate(batch)
    dtype = dataset.manifest.id_dtype
    size = int(rows.lengths.sum()) * dtype.itemsize
    return np.frombuffer(ctypes.string_at(int(rows.ids[0]), size), dtype)


def evaluate(
    model: PreTrainedModel,
    batches: Iterable[MicroBatch],
    frequencies: np.ndarray,
    ranks: Ranks,
    interrupted: Callable[[], bool] = lambda: False,
) -> Scores | None:
    """Score a model on this rank's batches, together with the other ranks.

    Every rank must have as many batches. What is summed does not depend on how rows are dealt out.

    Args:
        model: prepared for the batches' layout.
        batches: this rank's.
        frequencies: of `token_frequencies`.
        ranks: all of them.
        interrupted: asked before every batch; when any rank says yes, the answer is None.
    """
    training = model.training
    model.eval()
    table = torch.from_numpy(frequencies)
    sums = torch.zeros(7, dtype=torch.float64)
    try:
        with torch.no_grad():
            for batch in batches:
                if ranks.sum([float(interrupted())])[0]:
                    return None
                sums += _sums(model, batch, table, ranks.device)
    finally:
        model.train(training)
    masked, loss, correct, words, correct_words, unigram, commonest = ranks.sum(sums.tolist())
    masked, words = max(masked, 1.0), max(words, 1.0)
    return Scores(
        loss=loss / masked,
        accuracy=correct / masked,
        word_accuracy=correct_words / words,
        unigram_loss=unigram / masked,
        commonest_share=commonest / masked,
        masked=int(masked),
    )


def _sums(model: PreTrainedModel, batch: MicroBatch, table: Tensor, device: torch.device) -> Tensor:
    """Sums over one batch, fp64 `[7]`, in the order in which `evaluate` takes them apart."""
    made = forward_micro_batch(model, model, batch, device)
    labels = torch.from_numpy(batch.labels)
    words = torch.from_numpy(batch.words).long()
    correct = made.correct.cpu().double()
    in_word = torch.bincount(words).double()
    correct_in_word = torch.bincount(words, weights=correct)
    return torch.tensor(
        [
            len(labels),
            float(made.loss_sum),
            float(correct.sum()),
            float((in_word > 0).sum()),
            float(((in_word > 0) & (correct_in_word == in_word)).sum()),
            -float(table[labels].sum()),
            float((labels == table.argmax()).sum()),
        ],
        dtype=torch.float64,
    )
