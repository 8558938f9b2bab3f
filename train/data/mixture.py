"""Several datasets that are read at once, so many tokens of one beside so many of another."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import xxhash

from preprocess.errors import WholewordError
from train.data.batch_cache import CacheOptions
from train.data.shard_dataset import ShardDataset, check_same_tokenizer, check_tokenizer


@dataclass(frozen=True)
class Mixture:
    """Datasets of one tokenizer, and their weights."""

    datasets: tuple[ShardDataset, ...]
    weights: tuple[float, ...]
    """One for each, above 0: tokens of one stand to tokens of another as their weights do."""

    @property
    def first(self) -> ShardDataset:
        """The one that epochs are counted of."""
        return self.datasets[0]

    @property
    def others(self) -> tuple[ShardDataset, ...]:
        """The datasets after the first."""
        return self.datasets[1:]

    @property
    def max_length(self) -> int:
        """Tokens of the longest possible row, special tokens included."""
        return max(dataset.manifest.max_length for dataset in self.datasets)

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each dataset: its folder's, or the whole path where that is not enough."""
        paths = [dataset.folder.absolute() for dataset in self.datasets]
        names = [path.name for path in paths]
        unique = len(set(names)) == len(names)
        return tuple(names if unique else [str(path).replace("/", "_") for path in paths])


def has_grown(mixture: Mixture, before: str | list[str]) -> bool:
    """Whether the datasets are those that were read before, and text was appended to some.

    Args:
        mixture: the present datasets.
        before: the checksums of the indexes that were read.
    """
    indexes = [before] if isinstance(before, str) else before
    if len(indexes) != len(mixture.datasets):
        return False
    histories = (
        {step.index_xxh3_128 for step in dataset.manifest.generations}
        for dataset in mixture.datasets
    )
    return all(index in history for index, history in zip(indexes, histories, strict=True))


def open_mixture(
    folders: list[Path],
    weights: list[float],
    check_shards: Literal["sizes", "full"],
    cache: CacheOptions | None = None,
) -> Mixture:
    """Open the training rows of each folder.

    Args:
        folders: of shards.
        weights: of each; none for as many tokens as each holds.
        check_shards: "sizes" or "full", as `ShardDataset` takes it.
        cache: as `ShardDataset` takes it.

    Raises:
        WholewordError: one is missing, has no rows, or was built with another tokenizer.
    """
    datasets = [ShardDataset(folder, "train", check_shards, cache) for folder in folders]
    for dataset in datasets:
        if not len(dataset):
            raise WholewordError(
                f"{dataset.folder}: holds no training rows; build shards from more text"
            )
        check_tokenizer(dataset.folder, dataset.manifest)
    for dataset in datasets[1:]:
        check_same_tokenizer(dataset, datasets[0])
    sizes = [float(dataset.tokens) for dataset in datasets]
    return Mixture(tuple(datasets), tuple(weights or sizes))


def next_dataset(tokens: Sequence[int], weights: Sequence[float]) -> int:
    """The dataset that the next pack is of: the one that lacks most tokens of its share.

    So the tokens drawn from a dataset differ from its share by a pack at most, and who knows the
    tokens drawn so far can go on anywhere.

    Args:
        tokens: drawn from each dataset so far.
        weights: of each.
    """
    drawn = [count / weight for count, weight in zip(tokens, weights, strict=True)]
    return drawn.index(min(drawn))


def mixed_seed(seed: int, number: int) -> int:
    """The seed of the order and the masks of a dataset; the first has the run's own."""
    return xxhash.xxh3_64_intdigest(f"{seed} {number}".encode()) >> 1 if number else seed
