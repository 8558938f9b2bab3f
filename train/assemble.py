"""Puts a run together from its options: data, model, engine, and where to begin."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from preprocess.errors import WholewordError
from preprocess.manifest import Manifest
from train import checkpoint, elastic, run_folder
from train.checkpoint import Progress, Saver
from train.dropout import quicken_dropout
from train.ds_config import Plan, detect_hardware, make_plan, read_config
from train.ds_keys import check_keys, readable_refusals
from train.fitting import Vocabulary
from train.health import Health
from train.loader import Step
from train.metrics import MetricsLog, parameter_count
from train.model import (
    attention_dropout,
    can_pack,
    load_model,
    new_model,
    prepare_packed,
    prepare_padded,
)
from train.optimizer import enable_checkpointing, keep_gradient_norm, parameter_groups
from train.options import Options, parse_overrides
from train.partition import load_partitioned
from train.ranks import Ranks, keep_freed_memory
from train.report import Console
from train.schedules import Schedule
from train.shard_dataset import ShardDataset
from train.steps import make_steps, number_of_steps
from train.windows import Cursor, LoaderOptions


@dataclass
class Run:
    """What the training loop works with."""

    options: Options
    plan: Plan
    ranks: Ranks
    folder: Path
    settings: dict[str, Any]
    dataset: ShardDataset
    validation: ShardDataset | None
    loader_options: LoaderOptions
    model: PreTrainedModel
    engine: Any
    schedule: Schedule
    total_steps: int
    progress: Progress
    saver: Saver
    console: Console
    lock: IO[str] | None

    @property
    def static(self) -> bool:
        """Whether inputs are padded to few shapes, for torch.compile."""
        return self.options.optimization.torch_compile

    @property
    def checkpoints(self) -> Path:
        """Where the run's checkpoints are."""
        return self.folder / run_folder.CHECKPOINTS

    @property
    def last_checkpoint(self) -> str:
        """The newest checkpoint in words. Every rank asks: one may be under way."""
        self.saver.wait()
        newest = next(iter(checkpoint.checkpoints(self.checkpoints)), None)
        return f"the last good checkpoint is {newest}" if newest else "there is no checkpoint yet"

    def steps(self) -> Iterator[Step]:
        """This rank's steps that are left."""
        return make_steps(
            self.dataset,
            self.loader_options,
            self.options.optimization.batch_warmup,
            Cursor.from_dict(self.progress.cursor),
            self.progress.step,
            self.total_steps,
        )

    def advance(self, step: Step) -> None:
        """Take note that a step is done."""
        after = {"step": step.number + 1, "epoch": step.epoch, "cursor": step.cursor.to_dict()}
        self.progress = self.progress.model_copy(update=after)

    def save(self, health: Health) -> None:
        """Write a checkpoint, unless the last step went wrong: the one before is kept then."""
        if self.ranks.sum([float(health.broken)])[0]:
            raise health.error(self.progress.step, self.last_checkpoint)
        self.saver.save(self.engine, self.progress)

    def open_log(self) -> MetricsLog | None:
        """The log of metrics, on rank 0."""
        if not self.ranks.first:
            return None
        report_to = self.options.run.report_to
        return MetricsLog(self.folder, self.progress.step, report_to, self.settings)


def load_datasets(options: Options) -> tuple[ShardDataset, ShardDataset | None]:
    """Open the training rows, and the validation rows where there are some and they are wanted."""
    folder = Path(options.data.data)
    dataset = ShardDataset(folder, "train", options.data.check_shards)
    if not len(dataset):
        raise WholewordError(f"{folder}: holds no training rows; build shards from more text")
    if not options.run.eval_steps or not dataset.manifest.parts["validation"].rows:
        return dataset, None
    return dataset, ShardDataset(folder, "validation", options.data.check_shards)


def loader_options(
    options: Options, plan: Plan, manifest: Manifest, ranks: Ranks, packed: bool
) -> LoaderOptions:
    """What this rank's loader does."""
    return LoaderOptions(
        seed=options.optimization.seed,
        micro_batch_size=plan.micro_batch_size,
        max_length=manifest.max_length,
        accumulation=plan.accumulation,
        world_size=ranks.world_size,
        rank=ranks.rank,
        masking=options.data.masking,
        mlm_probability=options.data.probabilities,
        mask_replace=options.data.replacements,
        layout="packed" if packed else "padded",
        sentence_order=options.data.sentence_order,
        next_sentence=options.data.next_sentence,
        pin=ranks.device.type == "cuda",
    )


def make_model(
    options: Options, plan: Plan, manifest: Manifest, ranks: Ranks
) -> tuple[PreTrainedModel, bool]:
    """Load or create the model, and prepare it for packs where it keeps rows apart.

    Returns:
        The model, partitioned in ZeRO-3 and else in fp32 on the CPU, and whether it takes packs.
    """
    pairs = options.data.sentence_order or options.data.next_sentence
    remote = options.model.trust_remote_code

    def load() -> tuple[PreTrainedModel, bool]:
        vocabulary = Vocabulary(
            folder=Path(options.data.data) / "tokenizer",
            size=manifest.tokenizer.vocab_size,
            pad_id=manifest.tokenizer.pad_id,
            max_length=manifest.max_length,
        )
        model = load_model(
            options.model.model,
            vocabulary,
            overrides=parse_overrides(options.model.config_overrides),
            seed=options.optimization.seed,
            pairs=pairs,
            trust_remote_code=remote,
        )
        return model, can_pack(model)

    def make(config: PretrainedConfig) -> PreTrainedModel:
        return new_model(config, pairs, options.model.model)

    if plan.stage == 3 and not remote:  # a configuration's foreign class cannot be sent
        model, packed = load_partitioned(load, make, plan.config, plan.precision, ranks)
    else:
        model, packed = load()
    (prepare_packed if packed else prepare_padded)(model)
    if ranks.device.type == "cpu":
        quicken_dropout(model)
    if options.optimization.gradient_checkpointing:
        enable_checkpointing(model, options.model.model)
    return model, packed


def start_engine(model: PreTrainedModel, plan: Plan, options: Options) -> Any:
    """Hand the model to DeepSpeed.

    Raises:
        WholewordError: DeepSpeed refuses the configuration.
    """
    import deepspeed

    groups = parameter_groups(model, plan.weight_decay)
    with readable_refusals(plan.config, options.run.deepspeed):
        engine, *_ = deepspeed.initialize(model=model, model_parameters=groups, config=plan.config)
    keep_gradient_norm(engine)
    if options.optimization.torch_compile:
        engine.compile()
    return engine


def make_schedule(plan: Plan, options: Options, total_steps: int) -> Schedule:
    """The learning rate over the run."""
    warmup = plan.warmup_steps
    if warmup is None:
        warmup = math.ceil(options.optimization.warmup_ratio * total_steps)
    return Schedule(plan.schedule, plan.learning_rate, warmup, total_steps)


def resume(run: Run) -> None:
    """Bring the engine to where the newest whole checkpoint is, if there is one."""
    asked = run.options.run.resume_from_checkpoint
    if asked in ("auto", "none"):
        found, skipped = run.ranks.share(
            checkpoint.newest_whole(run.checkpoints) if run.ranks.first else None
        )
        for line in skipped:
            run.console.say(line)
        if found is None:
            if skipped:  # beginning anew would in time write over them
                raise WholewordError(
                    f"{run.checkpoints}: none of its checkpoints can be used; mend what is said "
                    "above, or give another --output-dir to begin anew"
                )
            return
    else:
        found = Path(asked)
        _check_named(run, found)
    was, now = checkpoint.read_progress(found), run.progress
    elastic.check(found, was, now)
    if elastic.is_same_layout(was, now):
        checkpoint.load(run.engine, found)
    else:
        run.console.say(f"converts {found} from {elastic.in_words(was)} to {elastic.in_words(now)}")
        stages = (was.stage, now.stage)
        elastic.load(run.engine, run.model, found, run.checkpoints, stages, run.ranks)
    layout = {"world_size": now.world_size, "stage": now.stage, "settings": now.settings}
    run.progress = was.model_copy(update=layout)
    run.console.say(f"continues from {found} (step {was.step} of {run.total_steps})")


def _check_named(run: Run, folder: Path) -> None:
    """Check a checkpoint that the command line names."""
    damage = run.ranks.share(checkpoint.find_damage(folder) if run.ranks.first else None)
    if damage:
        raise WholewordError(
            f"{folder}: cannot be used, {damage}; name a whole checkpoint, or auto"
        )
    if run.folder.resolve() not in folder.resolve().parents:
        run.console.say(
            f"{folder} is not of this run: DeepSpeed's files are pickles, which can run code when "
            "they are opened; use only what you trust"
        )
    changes = run_folder.differences(checkpoint.read_progress(folder).settings, run.settings)
    if changes and not run.options.run.allow_changes:
        raise WholewordError(
            f"{folder}: is of a run with other options ({'; '.join(changes)}); give the old ones, "
            "or --allow-changes"
        )


def whole_weights(engine: Any, model: PreTrainedModel, keep: bool) -> dict[str, torch.Tensor]:
    """The weights in fp32 on the CPU, gathered from every rank; empty without `keep`.

    Every rank calls this. The names are the model's; tied weights have one.
    """
    from deepspeed.utils import safe_get_full_fp32_param

    weights = {}
    for name, parameter in model.named_parameters():
        whole = safe_get_full_fp32_param(parameter) if engine.zero_optimization() else parameter
        if keep:
            weights[name] = whole.detach().float().cpu().clone()
    if not keep:
        return weights
    kept = model.state_dict(keep_vars=True)
    weights |= {name: b.detach().cpu() for name, b in model.named_buffers() if name in kept}
    return weights


def assemble(options: Options, ranks: Ranks) -> Run | None:
    """Build everything that the training loop needs; None where the run is finished already.

    Raises:
        WholewordError: something that the options name is missing or does not fit.
    """
    folder = Path(options.run.output_dir)
    config = read_config(options.run.deepspeed)
    plan = make_plan(config, options, ranks.world_size, detect_hardware())
    check_keys(config, plan.config, options.run.deepspeed)
    dataset, validation = load_datasets(options)
    settings = run_folder.settings(options, plan, ranks.world_size, dataset.manifest)
    lock = run_folder.claim(folder) if ranks.first else None
    ranks.wait()
    if run_folder.check_unchanged(folder, settings, options):
        if ranks.first:
            print(f"{folder}: this run is finished; its model is {folder / run_folder.FINAL}")
        return None
    model, packed = make_model(options, plan, dataset.manifest, ranks)
    loader = loader_options(options, plan, dataset.manifest, ranks, packed)
    epochs, warmup = options.optimization.num_train_epochs, options.optimization.batch_warmup
    steps = options.optimization.max_steps or number_of_steps(dataset, loader, warmup, epochs)
    console = Console(steps, ranks.first)
    introduce(console, options, plan, ranks, model, packed, steps, dataset.manifest.max_length)
    run = Run(
        options=options,
        plan=plan,
        ranks=ranks,
        folder=folder,
        settings=settings,
        dataset=dataset,
        validation=validation,
        loader_options=loader,
        model=model,
        engine=start_engine(model, plan, options),
        schedule=make_schedule(plan, options, steps),
        total_steps=steps,
        progress=_beginning(plan, ranks, settings),
        saver=Saver(folder / run_folder.CHECKPOINTS, options.run.save_total_limit, ranks),
        console=console,
        lock=lock,
    )
    resume(run)
    if ranks.device.type == "cpu":
        keep_freed_memory()
    if ranks.first:
        run_folder.store_settings(folder, settings)
    return run


def _beginning(plan: Plan, ranks: Ranks, settings: dict[str, Any]) -> Progress:
    return Progress(
        step=0,
        epoch=0,
        cursor=Cursor(epoch=0, window=0, pack=0).to_dict(),
        best_loss=None,
        evaluations_since_best=0,
        world_size=ranks.world_size,
        stage=plan.stage,
        precision=plan.precision,
        settings=settings,
    )


def introduce(
    console: Console,
    options: Options,
    plan: Plan,
    ranks: Ranks,
    model: PreTrainedModel,
    packed: bool,
    steps: int,
    max_length: int,
) -> None:
    """Say what will run where, and what was changed to make it run."""
    rows = plan.micro_batch_size * plan.accumulation * ranks.world_size
    console.say(
        f"{options.model.model}, {parameter_count(model):,} parameters, on {ranks.world_size} x "
        f"{ranks.device.type}, {plan.precision}, ZeRO {plan.stage}; "
        f"{steps:,} steps of {rows} x {max_length} = {rows * max_length:,} tokens; "
        f"{options.data.data} -> {options.run.output_dir}"
    )
    for note in plan.notes:
        console.say(f"changed: {note}")
    if ranks.device.type == "cpu" and ranks.world_size > 1:
        console.say("changed: DeepSpeed's shared-memory operator -> gloo: it has to be compiled")
    if not packed:
        console.say(
            "changed: packs -> padded batches: this model's attention does not keep packed rows apart"
        )
    elif attention_dropout(model):
        console.say(
            f"changed: attention dropout {attention_dropout(model)} -> 0: packed attention has none"
        )
