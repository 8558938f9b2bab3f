"""The end of a run: the final model, the curves, and a summary."""

from pathlib import Path

from train.engine.weights import gather_weights
from train.evaluate.evaluation import format_perplexity
from train.report.curves import CURVES, draw_curves
from train.report.log import METRICS, read_metrics
from train.run import folder as run_folder
from train.run.run import Run


def finish_run(run: Run, finished: bool) -> None:
    """Write what is left to write: the final model of a finished run, the curves of any."""
    if run.log:
        run.log.close()
    if finished:
        weights = gather_weights(run.engine, run.model, keep=run.ranks.first)
        if run.ranks.first:
            tokenizer = Path(run.options.data.data) / "tokenizer"
            run_folder.write_final(run.folder, run.model, weights, tokenizer)
    run.ranks.wait()
    run.console.close()
    if run.ranks.first:
        draw_curves(run.folder)
        for line in _summary(run, finished):
            print(line)


def _summary(run: Run, finished: bool) -> list[str]:
    """What the run has come to, for people."""
    if not finished:
        return ["the same command continues this run"]
    records = read_metrics(run.folder / METRICS)
    validations = [record for record in records if record["kind"] == "validation"]
    step, final = run.progress.step, run.folder / run_folder.FINAL
    lines = [f"finished after {step} steps: {final}"]
    if step < run.total_steps:
        count = run.progress.evaluations_since_best
        lines.insert(0, f"stopped early: no lower loss in the last {count} validations")
    if validations:
        first, last = validations[0], validations[-1]
        lines.append(
            f"validation perplexity {format_perplexity(first['perplexity'])} -> "
            f"{format_perplexity(last['perplexity'])}, "
            f"masked accuracy {first['accuracy']:.1%} -> {last['accuracy']:.1%}; token frequencies "
            f"alone: perplexity {format_perplexity(last['unigram_perplexity'])}, "
            f"accuracy {last['commonest_share']:.1%}"
        )
    return [*lines, f"curves: {run.folder / CURVES}"]
