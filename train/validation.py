"""Validation during training: the same rows with the same masks every time."""

import numpy as np

from preprocess.errors import WholewordError
from train.assemble import Run
from train.evaluation import Scores, evaluate, token_frequencies
from train.loader import evaluation_batches
from train.metrics import MetricsLog
from train.report import scores_line
from train.signals import StopRequest


class Validator:
    """Scores the model, keeps the best loss, and knows when patience is over."""

    def __init__(self, run: Run, log: MetricsLog | None, stop: StopRequest) -> None:
        self._run = run
        self._log = log
        self._stop = stop
        self._frequencies: np.ndarray | None = None
        patience = run.options.run.early_stopping_patience
        if patience and run.validation is None:
            raise WholewordError(
                f"{run.options.data.data}: has no validation rows for --early-stopping-patience "
                f"{patience}; build shards with a larger --validation-fraction, or leave it out"
            )

    def __call__(self) -> bool:
        """Validate, where there are validation rows; returns False when asked to stop meanwhile."""
        run = self._run
        if run.validation is None:
            return True
        if self._frequencies is None:
            self._frequencies = token_frequencies(run.dataset)
        batches = evaluation_batches(run.validation, run.loader_options)
        scores = evaluate(
            run.model, batches, self._frequencies, run.ranks, lambda: self._stop.asked
        )
        if scores is None:
            return False
        self._note(scores)
        return True

    @property
    def patience_is_over(self) -> bool:
        """Whether --early-stopping-patience says to stop."""
        patience = self._run.options.run.early_stopping_patience
        return bool(patience) and self._run.progress.evaluations_since_best >= patience

    def _note(self, scores: Scores) -> None:
        run, progress = self._run, self._run.progress
        better = progress.best_loss is None or scores.loss < progress.best_loss
        run.progress = progress.model_copy(
            update={
                "best_loss": scores.loss if better else progress.best_loss,
                "evaluations_since_best": 0 if better else progress.evaluations_since_best + 1,
            }
        )
        run.console.say(f"step {progress.step}: {scores_line(scores)}")
        if self._log:
            self._log.write(progress.step, "validation", scores.as_dict())
