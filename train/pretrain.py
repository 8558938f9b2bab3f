"""Pretrain a masked language model on shards with DeepSpeed.

    deepspeed train/pretrain.py --deepspeed ds_configs/zero2.json
    deepspeed --num_accelerators 2 train/pretrain.py --deepspeed ds_configs/zero3.json \
        --model bert-base-chinese --data shards --output-dir runs/mine
    python train/pretrain.py --max-steps 20                  # one rank, no launcher

The same command continues a run that was stopped. `--help` lists every option.
"""

import os
import sys
from pathlib import Path

# Running this file puts train/ itself first on the path, where a module could shadow a library.
if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

# Read when torch is loaded: how long OpenMP's threads spin before they sleep. Measured on two cores:
# at the default a second busy process makes training 100 times slower; without any spinning small
# products take twice as long, because each waits for a thread to wake.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch

from preprocess.errors import WholewordError
from train.assemble import Run, assemble
from train.finish import finish
from train.flops import FlopCounter, peak_flops
from train.health import Health
from train.metrics import MetricsLog
from train.objective import guess
from train.optimizer import gradient_norm, set_learning_rate
from train.options import parse
from train.ranks import (
    is_lost_rank,
    meet,
    quieten,
    report_defect,
    report_error,
    report_lost_rank,
)
from train.report import Window, engine_values
from train.signals import StopRequest
from train.steps import Totals, pack_seed
from train.timing import Clock, waits
from train.validation import Validator


def train(run: Run, log: MetricsLog | None) -> bool:
    """The training loop; returns whether the run is finished, rather than asked to stop."""
    engine, ranks, options, seed = run.engine, run.ranks, run.options.run, run.loader_options.seed
    stop, clock, health = StopRequest(), Clock(options), Health(engine)
    validator = Validator(run, log, stop)
    window = Window(ranks, FlopCounter(run.model), peak_flops(ranks.device, run.plan.precision))
    if run.progress.step == 0 and not validator():
        return False
    if validator.patience_is_over:  # stopped between its last checkpoint and its final model
        return True

    window.clear()
    for step, waited in waits(run.steps()):
        # A checkpoint that could not be finished is due again: then every rank hears why.
        due = clock.save_due or run.saver.failed
        # One all-reduce of scalars a step. The loss is a mean over the masked tokens of all its
        # micro-batches and ranks, so the gradient does not depend on how the step is cut.
        totals = Totals.over_ranks(ranks, step, stop.asked or clock.over, due, health)
        if totals.broken:
            raise health.error(step.number, run.last_checkpoint)
        rate = run.schedule(engine.global_steps - engine.skipped_steps)
        set_learning_rate(engine, rate)
        for k, batch in enumerate(step.micro_batches):
            # Dropout depends on the pack's place in the step, not on the rank that has it.
            torch.manual_seed(pack_seed(seed, step.number, k * ranks.world_size + ranks.rank))
            engine.set_gradient_accumulation_boundary(k + 1 == len(step.micro_batches))
            guesses = guess(engine, run.model, batch, ranks.device, run.static)
            loss = totals.mean(guesses) * ranks.world_size  # DeepSpeed averages over ranks
            engine.backward(loss, scale_wrt_gas=False)
            engine.step()
            health.observe(window.add_batch(batch, guesses))
        window.add_step(totals, waited)

        run.advance(step)
        done, last = run.progress.step, run.progress.step == run.total_steps
        if done % options.logging_steps == 0 or last:
            values = window.means() | engine_values(engine, rate, gradient_norm(engine))
            run.console.advance(done, values)
            if log:
                log.write(done, "train", values)
        if last or (options.eval_steps and done % options.eval_steps == 0):
            with window.paused():
                validator()
            last = last or validator.patience_is_over
        if (
            last
            or totals.stop
            or totals.save
            or (options.save_steps and done % options.save_steps == 0)
        ):
            with window.paused():
                run.save(health)
            clock.saved()
        if last or totals.stop:
            run.saver.wait()
            if not last:
                run.console.say(f"stopped at step {done}: {stop.reason or 'the time is over'}")
            return last
    return True


def main(arguments: list[str]) -> int:
    """Run a command line; returns the exit status."""
    folder = None
    quieten()
    try:
        options = parse(arguments)
        folder = Path(options.run.output_dir)
        with meet() as ranks:
            run = assemble(options, ranks)
            if run is None:
                return 0
            log = run.open_log()
            with run.saver:
                finished = train(run, log)
            finish(run, log, finished)
        return 0
    except WholewordError as error:
        return report_error(f"error: {error}")
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return report_lost_rank(error) if is_lost_rank(error) else report_defect(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
