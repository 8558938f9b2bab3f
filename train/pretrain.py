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

from preprocess.packages import require_packages

if __name__ == "__main__":
    require_packages()

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
from train.engine.launch import plain_note, read_launch
from train.engine.memory import queued_work
from train.engine.optimizer import applied_steps, set_learning_rate
from train.engine.peers import Peers, meeting
from train.engine.process_group import process_group
from train.engine.totals import StepTotals, pack_seed
from train.model.forward import forward_micro_batch
from train.report.progress import silence_libraries
from train.run.failures import report
from train.run.finish import finish_run
from train.run.run import Run
from train.run.setup import set_up
from train.run.timing import timed

_MISTAKEN = 20.0
"""Seconds in which a rank with a wrong command line looks for the others, to tell them."""


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
    """Run a command line; returns the exit status.

    What is wrong with it is said when all ranks have met: it may be wrong on one of them alone.
    """
    silence_libraries()
    options = problem = None
    patience = _MISTAKEN
    try:
        launch = read_launch(os.environ)
        if note := plain_note(os.environ):
            print(note, file=sys.stderr, flush=True)
        try:
            options = parse(arguments)
            patience = options.run.patience
        except WholewordError as error:
            problem = error
        with meeting(launch, patience) as peers:
            return run_to_end(options, problem, peers)
    except (Exception, KeyboardInterrupt) as error:  # before the ranks have met
        return report(problem or error, Peers(), None)


def run_to_end(options: Options | None, problem: WholewordError | None, peers: Peers) -> int:
    """Train, and say what went wrong; returns the exit status."""
    folder = None
    try:
        if options is None:
            raise problem or AssertionError
        folder = Path(options.run.output_dir)
        with process_group(peers) as ranks:
            try:
                run = set_up(options, ranks)
                if run is not None:
                    with run:
                        finish_run(run, finished=train(run))
                return 0
            except (Exception, KeyboardInterrupt) as error:
                # Said before the group is taken apart, where NCCL may wait for a lost rank.
                return report(error, peers, folder)
    except (Exception, KeyboardInterrupt) as error:  # the group cannot be formed, or taken apart
        return report(error, peers, folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
