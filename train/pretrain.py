"""Pretrain a masked language model on shards with DeepSpeed.

    deepspeed train/pretrain.py --deepspeed ds_configs/zero2.json
    deepspeed --num_accelerators 2 train/pretrain.py --deepspeed ds_configs/zero3.json \
        --model bert-base-chinese --data shards --output-dir runs/mine
    python train/pretrain.py --max-steps 20                  # one rank, no launcher

The same command continues a run that was stopped. `--help` lists every option.
"""

# ruff: noqa: E402
import os
import sys
from pathlib import Path

# Running this file puts train/ itself first on the path, where a module could shadow a library.
if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

# Read when torch is loaded: how long OpenMP's threads spin before they sleep. Measured on two
# cores: at the default a second busy process makes training 100 times slower; without any spinning
# small products take twice as long, because each waits for a thread to wake.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from preprocess.errors import WholewordError
from train.options import Options, parse

_RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
if __name__ == "__main__" and {os.environ.get(name, "0") for name in _RANKS} == {"0"}:
    try:  # before torch is imported, which takes seconds; other ranks leave rank 0 to speak
        parse(sys.argv[1:])
    except WholewordError as error:
        sys.exit(f"error: {error}")

import torch

from train.data.loader import Step
from train.engine.memory import queued_work
from train.engine.optimizer import applied_steps, set_learning_rate
from train.engine.process_group import Ranks, is_lost_rank, process_group
from train.engine.totals import StepTotals, pack_seed
from train.model.forward import forward_micro_batch
from train.report.progress import silence_libraries
from train.run.failures import report_defect, report_error, report_lost_rank
from train.run.finish import finish_run
from train.run.run import Run
from train.run.setup import set_up
from train.run.timing import timed


def train(run: Run) -> bool:
    """The training loop; returns whether the run is finished, rather than asked to stop.

    Whatever is due between two steps stands before the step, and the loop runs once more than
    there are steps, so the beginning and the end take the same path as the middle.
    """
    run.meter.clear()
    for step, waited in timed(run.steps()):
        run.meter.add_wait(waited)
        totals = run.totals(step)
        run.report_if_due(last=step is None)
        stop = not run.validate_if_due(last=step is None) or totals.stop
        finished = step is None or run.patience_is_over
        run.save_if_due(now=finished or stop or totals.save)
        if step is None or finished or stop:
            break
        train_step(run, step, totals)
    run.saver.wait()
    if not finished:
        reason = run.stop.reason or "the time is over"
        run.console.say(f"stopped at step {run.progress.step}: {reason}")
    return finished


def train_step(run: Run, step: Step, totals: StepTotals) -> None:
    """One optimizer step.

    The loss is a mean over the masked tokens of all its micro-batches and ranks, so the gradient
    does not depend on how the step is cut.
    """
    engine, ranks = run.engine, run.ranks
    applied = applied_steps(engine)
    set_learning_rate(engine, run.schedule(applied), run.schedule.trains_new_alone(applied))
    for k, batch in enumerate(step.micro_batches):
        # Dropout depends on the pack's place in the step, not on the rank that has it.
        pack = k * ranks.world_size + ranks.rank
        torch.manual_seed(pack_seed(run.loader_options.seed, step.number, pack))
        engine.set_gradient_accumulation_boundary(k + 1 == len(step.micro_batches))
        sums = forward_micro_batch(engine, run.model, batch, ranks.device, run.static)
        loss = totals.mean(sums) * ranks.world_size  # DeepSpeed averages over ranks
        engine.backward(loss, scale_wrt_gas=False)
        engine.step()
        source = step.sources[k]
        run.health.add_loss(run.meter.add_batch(batch, sums, source))
    step.use.until(queued_work(ranks.device))
    run.health.observe_step()
    run.meter.add_step(totals)
    run.advance(step)


def main(arguments: list[str]) -> int:
    """Run a command line; returns the exit status."""
    silence_libraries()
    try:
        options = parse(arguments)
    except WholewordError as error:
        return report_error(f"error: {error}")
    try:
        with process_group() as ranks:
            # Said before the group is taken apart, where a rank may have to wait for a lost one.
            return run_to_end(options, ranks)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # the group cannot be formed, or taken apart
        return report_lost_rank(error) if is_lost_rank(error) else report_defect(None)


def run_to_end(options: Options, ranks: Ranks) -> int:
    """Train, and say what went wrong; returns the exit status."""
    try:
        run = set_up(options, ranks)
        if run is not None:
            with run:
                finish_run(run, finished=train(run))
        return 0
    except WholewordError as error:
        return report_error(f"error: {error}")
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if is_lost_rank(error):
            return report_lost_rank(error)
        return report_defect(Path(options.run.output_dir))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
