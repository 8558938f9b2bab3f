"""The end of a run: the final model, the curves, and a summary."""

from pathlib import Path
from typing import Any

from preprocess.files import first_step
from train.evaluate.evaluation import format_perplexity
from train.model.from_nothing import begins_from_nothing
from train.options import VALIDATION
from train.report.curves import CURVES, draw_curves
from train.report.log import METRICS, read_metrics
from train.report.progress import counted
from train.run.run import Run
from train.run.saved_model import BEST, FINAL

_RATE_OF_SMALL = 2e-3
"""What docs/adapt.md gives models below 256 wide that begin from nothing."""


def finish_run(run: Run, finished: bool) -> None:
    """Write what is left to write: the final model of a finished run, the curves of any.

    Raises:
        WholewordError: the final model cannot be written; every rank raises it.
    """
    if run.log:
        run.log.close()
    keep = finished or run.options.run.save_final_on_stop
    if keep:
        run.write_model(FINAL, finished=finished)
    run.ranks.wait()
    run.console.close()
    if run.ranks.first:
        for line in [*_summary(run, finished, keep), *_curves(run.folder, run.options.model.model)]:
            print(line)


def say_finished(folder: Path, model: str) -> None:
    """Say that a folder holds a finished run, and draw its curve if that has failed."""
    print(f"{folder}: this run is finished; its model is {folder / FINAL}")
    if not (folder / CURVES).exists():
        for line in _curves(folder, model):
            print(line)


def _curves(folder: Path, model: str) -> list[str]:
    """Draw the curves; a picture that cannot be drawn is no failure of a run."""
    try:
        return [f"curves: {draw_curves(folder, model)}"]
    except OSError as error:
        return [
            f"{folder / CURVES}: cannot be drawn ({error.strerror or error}); {first_step(error)} "
            "and run the same command again, it draws them"
        ]


def _summary(run: Run, finished: bool, kept: bool) -> list[str]:
    """What the run has come to, for people."""
    step, final = run.progress.step, run.folder / FINAL
    if not finished:
        model = [f"the model so far: {final}"] if kept else []
        return [*model, "the same command continues this run"]
    lines = [f"finished after {counted(step, 'step')}: {final}"]
    if step < run.total_steps:
        count = run.progress.evaluations_since_best
        lines.insert(0, f"stopped early: no lower loss in the last {counted(count, 'validation')}")
    if run.progress.best_loss is not None:
        loss = run.progress.best_loss
        name = next(iter(run.validators), VALIDATION)
        lines.append(f"the lowest {name} loss, {loss:.4f}: {run.folder / BEST}")
    return lines + _validations(run)


def _validations(run: Run) -> list[str]:
    """The first and the last validation on this run's data, in a line."""
    if not run.validators:
        return []
    name, first_step = next(iter(run.validators)), run.progress.data_step
    of_data = [
        record
        for record in read_metrics(run.folder / METRICS)
        if record["kind"] == name and record["step"] >= first_step
    ]
    begin = [record for record in of_data if record["step"] == first_step]
    if not begin or of_data[-1]["step"] == first_step:
        return []
    first, last = begin[-1], of_data[-1]
    if None in (first["loss"], last["loss"]):
        return [f"{name} loss was not a number at the beginning or at the end; see {METRICS}"]
    return [
        f"{name} perplexity {format_perplexity(first['perplexity'])} -> "
        f"{format_perplexity(last['perplexity'])}, "
        f"masked accuracy {first['accuracy']:.1%} -> {last['accuracy']:.1%}; token frequencies "
        f"alone: perplexity {format_perplexity(last['unigram_perplexity'])}, "
        f"accuracy {last['commonest_share']:.1%}",
        *_nothing_learnt(run, last, name),
    ]


def _nothing_learnt(run: Run, last: dict[str, Any], name: str) -> list[str]:
    """A warning where a model is no better than token frequencies are without any model."""
    if last["loss"] < last["unigram_loss"]:
        return []
    rate = "another --learning-rate"
    if begins_from_nothing(run.options.model.model) and run.plan.learning_rate < _RATE_OF_SMALL:
        rate = f"a higher --learning-rate ({_RATE_OF_SMALL:g} suits the smallest presets)"
    return [
        f"{name} loss is not below that of token frequencies alone: the model has learnt "
        f"nothing yet; train longer (--num-train-epochs or --max-steps) or at {rate}"
    ]
