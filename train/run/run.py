"""A run: what the training loop works with, and what it does between two steps."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from transformers import PreTrainedModel

from train.data.loader import Loader, Step
from train.data.mixture import Mixture
from train.data.windows import Cursor, LoaderOptions
from train.engine import checkpoint
from train.engine.checkpoint import RunProgress, Saver
from train.engine.config import EnginePlan
from train.engine.health import HealthMonitor
from train.engine.optimizer import engine_values
from train.engine.process_group import Ranks
from train.engine.schedules import Schedule
from train.engine.totals import StepTotals
from train.engine.weights import gather_weights
from train.evaluate.evaluation import Scores
from train.options import Options
from train.report.log import MetricsLog
from train.report.meters import TrainingMeter
from train.report.progress import Console, frequencies_line, scores_line
from train.run import folder as run_folder
from train.run.saved_model import BEST, ModelNote, write_model
from train.run.signals import StopRequest
from train.run.timing import Clock
from train.run.validation import Validator


@dataclass
class Run:
    """Everything of a run, and what is done with it between two steps.

    What is due at a step follows from `progress` alone, so the beginning, the end and a run that
    continues take the same path: a checkpoint says which step was validated last.
    """

    options: Options
    plan: EnginePlan
    ranks: Ranks
    folder: Path
    mixture: Mixture
    loader_options: LoaderOptions
    model: PreTrainedModel
    engine: Any
    schedule: Schedule
    total_steps: int
    progress: RunProgress
    saver: Saver
    console: Console
    validators: dict[str, Validator]
    """By their names, the one whose loss decides what is best first; empty where there are no
    validation rows, or none are wanted."""
    meter: TrainingMeter
    health: HealthMonitor
    clock: Clock
    stop: StopRequest
    log: MetricsLog | None = None
    """On rank 0."""
    lock: IO[str] | None = None
    """Held on rank 0 as long as the run lives."""
    saved_step: int = 0
    """Of the newest checkpoint."""
    explained: set[str] = field(default_factory=set)
    """Validations whose token frequencies, which stay as they are, have been said."""

    @property
    def static(self) -> bool:
        """Whether inputs are padded to few shapes, for torch.compile."""
        return self.options.optimization.torch_compile

    @property
    def checkpoints(self) -> Path:
        """Where the run's checkpoints are."""
        return self.folder / run_folder.CHECKPOINTS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let the last checkpoint come to its end, and others into the folder."""
        with self.saver:
            pass
        if self.lock:
            self.lock.close()

    def steps(self) -> Iterator[Step | None]:
        """This rank's steps that are left, and None behind the last one."""
        mixture = self.mixture
        cursor = Cursor.from_dict(self.progress.cursor, len(mixture.datasets))
        loader = Loader(mixture.first, self.loader_options, mixture.others, mixture.weights)
        yield from loader.steps(cursor, self.progress.step, self.total_steps)
        yield None

    def totals(self, step: Step | None) -> StepTotals:
        """What all ranks know of `step`, and want before it; every rank calls this.

        Raises:
            WholewordError: the step before went wrong for good, on any rank.
        """
        # A checkpoint that could not be finished is due again: then every rank hears why.
        save = (self.ranks.first and self.clock.save_due) or self.saver.failed
        stop = self.stop.asked or self.clock.over
        totals = StepTotals.over_ranks(self.ranks, step, stop, save, self.health.diverged)
        if totals.diverged:
            raise self.health.error(self.progress.step, self._newest_checkpoint())
        return totals

    def advance(self, step: Step) -> None:
        """Take note that a step is done."""
        after = {"step": step.number + 1, "epoch": step.epoch, "cursor": step.cursor.to_dict()}
        self.progress = self.progress.model_copy(update=after)

    def report_if_due(self, last: bool) -> None:
        """Log the metrics of the steps since the last report."""
        step = self.progress.step
        if self.meter.steps and (last or step % self.options.run.logging_steps == 0):
            values = self.meter.means() | engine_values(self.engine)
            self.console.advance(step, values)
            if self.log:
                self.log.write(step, "train", values)

    def validate_if_due(self, last: bool) -> bool:
        """Score the model on the validation rows; returns False when asked to stop meanwhile."""
        step = self.progress.step
        if not self.validators or self.progress.last_validation == step:
            return True
        begins = self.progress.last_validation == -1  # with the run, or with other data
        if not (last or begins) and step % self.options.run.eval_steps:
            return True
        found: dict[str, Scores] = {}
        with self.meter.paused():
            for name, validator in self.validators.items():
                scores = validator.score(lambda: self.stop.asked)
                if scores is None:
                    return False
                found[name] = scores
            self._take_scores(found)
        return True

    def _take_scores(self, found: dict[str, Scores]) -> None:
        """Say and log the scores of a validation, and keep the model if it is the best so far."""
        step = self.progress.step
        for name, scores in found.items():
            line = f"step {step}: {scores_line(scores, name)}"
            if name not in self.explained:
                line = f"{line} {frequencies_line(scores)}"
                self.explained.add(name)
            self.console.say(line)
            if self.log:
                self.log.write(step, name, scores.as_dict())
        self.progress = self.progress.after_validation(next(iter(found.values())).loss)
        if self.progress.evaluations_since_best == 0:
            self.write_model(BEST, finished=False)

    def write_model(self, name: str, finished: bool) -> None:
        """Write the weights as they are as a model of the run; every rank calls this.

        Raises:
            WholewordError: it cannot be written; every rank raises it.
        """
        weights = gather_weights(self.engine, self.model, keep=self.ranks.first)
        note = ModelNote(
            step=self.progress.step,
            finished=finished,
            settings=self.progress.settings,
            loss=self.progress.best_loss if name == BEST else None,
        )
        tokenizer = self.mixture.first.folder / "tokenizer"
        self.ranks.on_first_only(
            lambda: write_model(self.folder / name, self.model, weights, tokenizer, note)
        )

    @property
    def patience_is_over(self) -> bool:
        """Whether --early-stopping-patience says to stop."""
        patience = self.options.run.early_stopping_patience
        return bool(patience) and self.progress.evaluations_since_best >= patience

    def save_if_due(self, now: bool) -> None:
        """Write a checkpoint after every --save-steps, or `now`, unless there is one of this step.

        A state that may be broken never takes the place of a good one: while the loss is not a
        number, fp16 goes on without a checkpoint.

        Raises:
            WholewordError: the last step went wrong for good, on any rank.
        """
        step, every = self.progress.step, self.options.run.save_steps
        if step == self.saved_step or not (now or (every and step % every == 0)):
            return
        if self.ranks.sum([float(not self.health.is_sound())])[0]:
            if step == self.total_steps or self.plan.precision != "fp16":
                raise self.health.error(step, self._newest_checkpoint())
            self.console.say(f"step {step}: not saved, for the loss is not a number")
            return
        with self.meter.paused():
            self.saver.save(self.engine, self.progress)
        self.saved_step = step
        self.clock.saved()

    def _newest_checkpoint(self) -> str:
        """The newest checkpoint in words; every rank calls this, for one may be under way."""
        self.saver.wait()
        newest = next(iter(checkpoint.checkpoints(self.checkpoints)), None)
        return f"the last good checkpoint is {newest}" if newest else "there is no checkpoint yet"
