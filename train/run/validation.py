"""Validation during training: the same rows with the same masks every time."""

from collections.abc import Callable

import numpy as np
from transformers import PreTrainedModel

from train.data.loader import evaluation_batches
from train.data.shard_dataset import ShardDataset
from train.data.windows import LoaderOptions
from train.engine.process_group import Ranks
from train.evaluate.evaluation import Scores, evaluate, token_frequencies


class Validator:
    """Scores a model on the validation rows.

    Args:
        validation: the rows.
        training: the training rows, whose token frequencies are what a model has to beat.
        options: what micro-batches are made of.
        model: what is scored.
        ranks: the run's.
        most_rows: no more rows than these, evenly spaced; 0 for all.
    """

    def __init__(
        self,
        validation: ShardDataset,
        training: ShardDataset,
        options: LoaderOptions,
        model: PreTrainedModel,
        ranks: Ranks,
        most_rows: int = 0,
    ) -> None:
        self._validation = validation
        self._training = training
        self._options = options
        self._model = model
        self._ranks = ranks
        self._most_rows = most_rows
        self._frequencies: np.ndarray | None = None

    def score(self, interrupted: Callable[[], bool]) -> Scores | None:
        """The scores, the same on every rank; None when any rank was interrupted meanwhile."""
        if self._frequencies is None:
            self._frequencies = token_frequencies(self._training)
        batches = evaluation_batches(self._validation, self._options, self._most_rows)
        return evaluate(self._model, batches, self._frequencies, self._ranks, interrupted)
