"""The training loop, driven with an engine that only takes notes."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch

from preprocess.errors import WholewordError
from tests.train.shard_factory import ShardSpec, make_shards
from train import pretrain
from train.data.mixture import Mixture
from train.data.shard_dataset import ShardDataset
from train.data.windows import Cursor, LoaderOptions
from train.engine.checkpoint import RunProgress
from train.engine.health import HealthMonitor
from train.engine.process_group import Ranks, is_lost_rank
from train.engine.schedules import Schedule
from train.engine.totals import StepTotals, pack_seed
from train.model.flops import PeakRate
from train.options import parse
from train.pretrain import train, train_step
from train.report.meters import TrainingMeter
from train.run.run import Run
from train.run.timing import Clock

VOCABULARY = 100
CPU = torch.device("cpu")


class Model:
    """What the inputs and the count of FLOPs ask a model for."""

    def forward(self, input_ids, masked_positions, cu_seqlens):
        raise NotImplementedError


class Engine:
    """DeepSpeed's engine as far as the loop uses it; every call is noted.

    Steps in `overflows`, counted from 0, are skipped, as with fp16; losses from step `breaks` on
    are not a number.
    """

    def __init__(self, overflows=(), breaks=10**9, fp16=False):
        self.optimizer = SimpleNamespace(param_groups=[{"lr": 0.0}], cur_scale=1.0)
        self.global_steps = self.skipped_steps = 0
        self.calls, self.losses, self.rates, self.seeds = [], [], [], []
        self._overflows, self._breaks, self._fp16 = overflows, breaks, fp16
        self._boundary = self._applied = False

    def __call__(self, masked_positions, **inputs):
        self.calls.append("forward")
        self.seeds.append(torch.initial_seed())
        logits = torch.zeros(1, len(masked_positions), VOCABULARY, requires_grad=True)
        return {"logits": logits * (float("nan") if self.global_steps >= self._breaks else 1.0)}

    def set_gradient_accumulation_boundary(self, is_boundary):
        self._boundary = is_boundary

    def backward(self, loss, scale_wrt_gas):
        assert scale_wrt_gas is False
        self.calls.append("backward")
        self.losses.append(float(loss.detach()))

    def step(self):
        self.calls.append("step" if self._boundary else "accumulate")
        self._applied = False  # as DeepSpeed's does at every micro-batch
        if self._boundary:
            self.rates.append(self.optimizer.param_groups[0]["lr"])
            skipped = self.global_steps in self._overflows
            self.skipped_steps += skipped
            self._applied = not skipped
            self.global_steps += 1

    def was_step_applied(self):
        return self._applied

    def fp16_enabled(self):
        return self._fp16

    def get_global_grad_norm(self):
        return 1.0


@dataclass
class Saver:
    saved: list[int] = field(default_factory=list)
    waits: int = 0
    failed = False

    def save(self, engine, progress):
        self.saved.append(progress.step)

    def wait(self):
        self.waits += 1


@dataclass
class Console:
    said: list[str] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)

    def say(self, line):
        self.said.append(line)

    def advance(self, step, values):
        self.shown.append(step)


@dataclass
class Validator:
    """Scores 1.0, then worse and worse; `interrupts` at the scores of that number."""

    interrupts: int = -1
    scored: int = 0

    def score(self, interrupted):
        self.scored += 1
        if self.scored == self.interrupts:
            return None
        return SimpleNamespace(
            loss=1.0 + self.scored,
            perplexity=2.0,
            accuracy=0.5,
            word_accuracy=0.5,
            unigram_loss=3.0,
            commonest_share=0.1,
            as_dict=dict,
        )


@dataclass
class Stop:
    """Asked to stop once `polls` were answered no."""

    polls: int = 10**9
    reason: str | None = None

    @property
    def asked(self):
        self.polls -= 1
        self.reason = "SIGTERM" if self.polls < 0 else None
        return self.reason is not None


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loop")
    make_shards(folder, ShardSpec(rows=(150,), max_length=32, vocab_size=VOCABULARY))
    return ShardDataset(folder, "train")


@pytest.fixture
def written(monkeypatch):
    """(step, name) of every model that a run writes."""
    models = []
    monkeypatch.setattr(
        Run, "write_model", lambda run, name, finished: models.append((run.progress.step, name))
    )
    return models


@pytest.fixture
def make_run(dataset, tmp_path, written):
    def make(
        total=6, accumulation=2, engine=None, validator=None, stop=None, ranks=None, step=0, **run
    ):
        engine = engine or Engine()
        ranks = ranks or Ranks(rank=0, world_size=1, device=CPU)
        run = {"logging_steps": 2, "save_steps": 4, "eval_steps": 3} | run
        options = parse([f"--{name.replace('_', '-')}={value}" for name, value in run.items()])
        return Run(
            options=options,
            plan=SimpleNamespace(precision="fp16" if engine.fp16_enabled() else "fp32"),
            ranks=ranks,
            folder=tmp_path,
            mixture=Mixture((dataset,), (1.0,)),
            loader_options=LoaderOptions(
                2, 32, accumulation, world_size=ranks.world_size, rank=ranks.rank, seed=7
            ),
            model=Model(),
            engine=engine,
            schedule=Schedule("linear", 1.0, 0, total),
            total_steps=total,
            progress=RunProgress(
                step=step,
                epoch=0,
                cursor=Cursor().to_dict(),
                best_loss=None,
                evaluations_since_best=0,
                last_validation=step or -1,
                world_size=1,
                stage=2,
                precision="fp32",
                settings={},
            ),
            saver=Saver(),
            console=Console(),
            validators={"validation": validator} if validator else {},
            meter=TrainingMeter(ranks, lambda batch: 1.0, PeakRate(1.0, measured=False)),
            health=HealthMonitor(engine),
            clock=Clock(options.run),
            stop=stop or Stop(),
            saved_step=step,
        )

    return make


def first_step(run):
    step = next(run.steps())
    return step, run.totals(step)


def test_a_step_sums_its_micro_batches_and_steps_once(make_run):
    run = make_run(accumulation=3)
    step, totals = first_step(run)
    train_step(run, step, totals)
    assert run.engine.calls == [
        *("forward", "backward", "accumulate"),
        *("forward", "backward", "accumulate"),
        *("forward", "backward", "step"),
    ]
    # Even logits: every masked token costs ln 100, so the shares add up to that.
    assert sum(run.engine.losses) == pytest.approx(torch.tensor(100.0).log().item(), rel=1e-6)
    assert run.engine.seeds == [pack_seed(7, 0, k) for k in range(3)]
    assert (run.progress.step, run.progress.cursor["pack"]) == (1, 3)
    assert run.meter.steps == 1


def test_a_steps_buffers_are_in_use_until_its_work_is_done(make_run, monkeypatch):
    """On a GPU the copies from them are only queued when the step returns."""
    queued = SimpleNamespace(waited=0)
    queued.synchronize = lambda: setattr(queued, "waited", queued.waited + 1)
    monkeypatch.setattr(pretrain, "queued_work", lambda device: queued)
    run = make_run(total=12)
    assert train(run)
    assert queued.waited > 0, "the loader waits before it writes them again"


def test_a_ranks_share_is_multiplied_by_what_deepspeed_divides_by(make_run):
    class Two(Ranks):
        def sum(self, values):
            return [2 * value for value in values]

    run = make_run(accumulation=1, ranks=Two(rank=1, world_size=2, device=CPU))
    step, totals = first_step(run)
    assert totals.masked == 2 * len(step.micro_batches[0].labels)
    train_step(run, step, totals)
    assert run.engine.losses[0] == pytest.approx(torch.tensor(100.0).log().item(), rel=1e-6)
    assert run.engine.seeds == [pack_seed(7, 0, 1)]


def test_a_skipped_step_stands_still_in_the_schedule_and_goes_on_in_the_data(make_run):
    run = make_run(engine=Engine(overflows=(1, 2), fp16=True))
    assert train(run)
    assert run.engine.rates == pytest.approx([1, 5 / 6, 5 / 6, 5 / 6, 4 / 6, 3 / 6])
    assert run.progress.step == 6


@pytest.mark.parametrize("accumulation", [1, 8, 64])
def test_overflows_are_counted_by_step_whatever_the_accumulation(make_run, accumulation):
    run = make_run(
        total=60, accumulation=accumulation, engine=Engine(overflows=range(49), fp16=True)
    )
    assert train(run)
    run = make_run(total=60, accumulation=accumulation, engine=Engine(range(60), fp16=True))
    with pytest.raises(WholewordError, match=r"step 50: 50 steps in a row overflowed"):
        train(run)
    assert run.progress.step == 50


def test_everything_due_stands_before_the_step_and_once(make_run):
    run = make_run(validator=Validator())
    assert train(run)
    assert run.engine.calls.count("step") == 6
    assert run.console.shown == [2, 4, 6]
    assert [line.split(":")[0] for line in run.console.said] == ["step 0", "step 3", "step 6"]
    assert run.saver.saved == [4, 6]
    assert run.saver.waits == 1


def test_a_run_that_ends_between_intervals_reports_validates_and_saves(make_run):
    run = make_run(total=5, validator=Validator())
    assert train(run)
    assert run.console.shown == [2, 4, 5]
    assert run.progress.last_validation == 5
    assert run.saver.saved == [4, 5]


def test_a_run_that_continues_repeats_nothing(make_run):
    run = make_run(step=3, validator=Validator())
    assert train(run)
    # At step 6; step 3 was validated before its checkpoint.
    assert run.validators["validation"].scored == 1
    assert run.saver.saved == [4, 6]
    done = make_run(step=6, validator=Validator())
    assert train(done)
    assert done.validators["validation"].scored == 0
    assert (done.saver.saved, done.engine.calls) == ([], [])


def test_a_stop_saves_after_the_step_that_it_came_in(make_run):
    run = make_run(stop=Stop(polls=3))
    assert not train(run)
    assert (run.progress.step, run.saver.saved) == (3, [3])
    assert run.console.said[-1] == "stopped at step 3: SIGTERM"


def test_an_interrupted_validation_is_due_again(make_run):
    run = make_run(validator=Validator(interrupts=2))
    assert not train(run)
    assert (run.progress.step, run.progress.last_validation) == (3, 0)
    assert run.saver.saved == [3]
    beginning = make_run(validator=Validator(interrupts=1))
    assert not train(beginning)
    assert beginning.saver.saved == []  # there is nothing to save yet


def test_the_best_model_is_kept_when_it_is_the_best(make_run, written):
    run = make_run(validator=Validator())
    assert train(run)
    assert written == [(0, "best")]  # the scores get worse from then on
    assert run.progress.best_loss == 2.0


def test_the_first_validation_decides(make_run, written):
    improving = Validator()
    improving.score = lambda interrupted: replaced(Validator.score(improving, interrupted))
    run = make_run(validator=Validator())
    run.validators = {"law": improving, **run.validators}
    assert train(run)
    assert written == [(0, "best"), (3, "best"), (6, "best")]
    assert run.console.said[:2] == [
        f"step 0: {name} loss {loss:.4f}, perplexity 2.0, masked accuracy 50.0%, whole words 50.0% "
        "(token frequencies alone: loss 3.0000, accuracy 10.0%)"
        for name, loss in (("law", 9.0), ("validation", 2.0))
    ]
    later = [line for line in run.console.said[2:] if "loss" in line]
    assert later and not any("token frequencies" in line for line in later)  # said once


def replaced(scores):
    scores.loss = 11.0 - scores.loss
    return scores


def test_patience_ends_a_run(make_run):
    run = make_run(total=60, validator=Validator(), early_stopping_patience=2)
    assert train(run)
    assert run.progress.step == 6  # validated at 0, then worse at 3 and 6
    assert run.saver.saved[-1] == 6


def test_a_broken_loss_is_never_saved(make_run):
    run = make_run(engine=Engine(breaks=3), save_steps=1)
    with pytest.raises(WholewordError, match=r"step 4: the loss or its gradient"):
        train(run)
    assert run.saver.saved == [1, 2, 3]


def test_in_fp16_a_broken_state_takes_no_checkpoints_place(make_run):
    run = make_run(total=60, engine=Engine(range(6, 60), breaks=6, fp16=True), save_steps=3)
    with pytest.raises(WholewordError, match=r"step 16: the loss or its gradient is not a number"):
        train(run)
    assert run.saver.saved == [3, 6]
    late = make_run(engine=Engine(breaks=5, fp16=True), save_steps=3)
    with pytest.raises(WholewordError, match="step 6: the loss"):
        train(late)
    assert late.saver.saved == [3]


def test_a_lost_rank_ends_the_loop_with_its_own_error(make_run):
    class Lost(Ranks):
        asked = 0

        def sum(self, values):
            type(self).asked += 1
            if self.asked == 3:
                raise RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:553] closed")
            return values

    run = make_run(ranks=Lost(rank=0, world_size=2, device=CPU), logging_steps=100)
    with pytest.raises(RuntimeError) as caught:
        train(run)
    assert is_lost_rank(caught.value)
    assert (run.progress.step, run.saver.saved) == (2, [])


def test_totals_behind_the_last_step_hold_no_tokens():
    totals = StepTotals.over_ranks(Ranks(0, 1, CPU), None, True, False, False)
    assert (totals.masked, totals.tokens, totals.stop) == (1.0, 0, True)
