"""Set a run up from its options: data, model, engine, and where to begin."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from transformers import PretrainedConfig, PreTrainedModel

from preprocess.errors import WholewordError
from preprocess.places import place
from preprocess.sizes import parse_size
from preprocess.write.manifest import Manifest
from train.data.batch_cache import CacheOptions, default_cache
from train.data.loader import count_steps
from train.data.mixture import Mixture, open_mixture
from train.data.shard_dataset import ShardDataset, check_same_tokenizer
from train.data.windows import Cursor, LoaderOptions
from train.engine.checkpoint import RunProgress, Saver
from train.engine.config import EnginePlan, detect_hardware, make_engine_plan, read_config
from train.engine.health import HealthMonitor
from train.engine.keys import check_keys, readable_builds
from train.engine.memory import keep_freed_memory
from train.engine.optimizer import applied_steps, enable_checkpointing
from train.engine.partition import load_partitioned
from train.engine.place import Place, find_place
from train.engine.process_group import Ranks
from train.engine.schedules import Schedule
from train.engine.start import start_engine
from train.engine.weights import parameter_count
from train.model.attention import gpu_capability
from train.model.dropout import use_fast_dropout
from train.model.flops import DTYPES, FlopCounter, peak_rate
from train.model.from_nothing import begins_from_nothing
from train.model.load import load_model, new_model
from train.model.new_weights import keep_old_rows, mark_new_weights, new_weights
from train.model.packed import attention_dropout, prepare_packed, prepare_padded, why_padded
from train.model.presets import check_name
from train.model.shards_vocabulary import shards_vocabulary
from train.model.vocabulary_check import position_offset
from train.options import VALIDATION, DataOptions, Options, parse_overrides
from train.report.log import MetricsLog
from train.report.meters import TrainingMeter
from train.report.progress import Console, counted
from train.run import folder as run_folder
from train.run.agreement import check_same_command, check_same_data
from train.run.data_lines import few_masked, mixture_lines
from train.run.finish import say_finished
from train.run.resume import check_length, check_reading, find_checkpoint, load_checkpoint
from train.run.run import Run
from train.run.signals import StopRequest
from train.run.timing import Clock
from train.run.validation import Validator

_FEW_STEPS = 100
"""A run of fewer optimizer steps learns hardly anything, warm-up and decay included."""


def set_up(options: Options, ranks: Ranks) -> Run | None:
    """Build everything that the training loop needs; None where the run is finished already.

    Raises:
        WholewordError: something that the options name is missing or does not fit.
    """
    check_name(options.model.model)
    folder = Path(options.run.output_dir)
    config = read_config(options.run.deepspeed)
    plan = make_engine_plan(config, options, ranks.world_size, detect_hardware())
    check_keys(config, plan.config, options.run.deepspeed)
    check_same_command(options, plan, ranks)
    mixture, validation = load_datasets(options)
    check_same_data([*mixture.datasets, *validation.values()], ranks)
    dataset = mixture.first
    manifest = dataset.manifest.model_copy(update={"max_length": mixture.max_length})
    settings = run_folder.settings(options, plan, ranks.world_size, mixture)
    place = find_place(folder, ranks, options.run.node_local_output)
    finished, lock = _claim(folder, settings, options, ranks, place)
    if finished:
        if ranks.first:
            say_finished(folder, options.model.model)
        return None
    found, lines = find_checkpoint(options, settings, ranks, place)
    model, padding = make_model(options, plan, manifest, ranks, lines, dataset.folder)
    loader = loader_options(options, plan, manifest, ranks, model, packed=not padding)
    if found:
        check_reading(found, settings, not padding, options, folder)
    steps = _total_steps(options, mixture, loader, found.data_step if found else 0)
    if found:
        check_length(found, settings, steps, folder)
    console = Console(steps, ranks.first)
    for line in filter(None, [*lines, options.recipe_line]):
        console.say(line)
    schedule = make_schedule(plan, options, model, steps)
    _announce(console, options, plan, ranks, model, padding, schedule, mixture.max_length)
    ahead = range(found.data_step if found else 0, steps)
    rows = plan.micro_batch_size * plan.accumulation * ranks.world_size
    for line in (
        *mixture_lines(options, mixture, validation, loader, ahead),
        *few_masked(options, validation),
        *_warnings(options, steps, rows, bool(validation), schedule.head_steps),
    ):
        console.say(line)
    engine = start_engine(model, plan, options, place.leads)
    keep_old_rows(model, lambda: schedule.trains_new_alone(applied_steps(engine)))
    stop = StopRequest()
    run = Run(
        options=options,
        plan=plan,
        ranks=ranks,
        folder=folder,
        mixture=mixture,
        loader_options=loader,
        model=model,
        engine=engine,
        schedule=schedule,
        total_steps=steps,
        progress=_beginning(plan, ranks, settings, mixture, packed=not padding),
        saver=Saver(folder / run_folder.CHECKPOINTS, options.run.save_total_limit, ranks, place),
        console=console,
        validators={
            name: Validator(rows, dataset, loader, model, ranks, options.run.max_eval_rows)
            for name, rows in validation.items()
        },
        meter=TrainingMeter(
            ranks, FlopCounter(model), peak_rate(ranks.device, plan.precision), mixture.names
        ),
        health=HealthMonitor(engine),
        clock=Clock(options.run),
        stop=stop,
        lock=lock,
    )
    if found:
        load_checkpoint(run, found)
    if ranks.device.type == "cpu":
        keep_freed_memory()
    run.log = ranks.together(lambda: _open_log(run, place))
    return run


def _claim(
    folder: Path, settings: dict[str, Any], options: Options, ranks: Ranks, place: Place
) -> tuple[bool, IO[str] | None]:
    """Whether the folder holds this run, finished; and a lock on it if not, of who leads there.

    Raises:
        WholewordError: it holds another run, or one is writing there; every rank raises it.
    """

    def look() -> tuple[bool, IO[str] | None]:
        if not place.leads:
            return False, None
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context(run_folder.claim(folder))
            if ranks.first and run_folder.check_unchanged(folder, settings, options):
                return True, None
            stack.pop_all()
        return False, lock

    finished, lock = ranks.together(look)
    return ranks.share(finished), lock


def _open_log(run: Run, place: Place) -> MetricsLog | None:
    if place.leads:
        run_folder.store_settings(run.folder, run.progress.settings)
    if not run.ranks.first:
        return None
    report_to = run.options.run.report_to
    return MetricsLog(run.folder, run.progress.step, report_to, run.progress.settings)


def load_datasets(options: Options) -> tuple[Mixture, dict[str, ShardDataset]]:
    """Open the training rows, and the validation rows that there are and that are wanted, by name.

    The one whose loss decides which model is the best comes first.
    """
    data = options.data
    mixture = open_mixture(data.folders, data.data_weights, data.check_shards, cache(data))
    return mixture, _validation_datasets(options, mixture.first) if options.run.eval_steps else {}


def cache(data: DataOptions) -> CacheOptions:
    """Where what addresses hold is kept."""
    folder = Path(data.data_cache).expanduser() if data.data_cache else default_cache().folder
    return CacheOptions(folder, parse_size("--data-cache-size", data.data_cache_size))


def _validation_datasets(options: Options, training: ShardDataset) -> dict[str, ShardDataset]:
    def open_rows(folder: Path) -> ShardDataset:
        return ShardDataset(folder, "validation", options.data.check_shards, cache(options.data))

    found: dict[str, ShardDataset] = {}
    entry = training.manifest.parts.get("validation")
    if entry and entry.rows:
        found[VALIDATION] = open_rows(options.data.folders[0])
    for name, folder in options.data.validation_folders.items():
        rows = open_rows(place(folder))
        check_same_tokenizer(rows, training)
        if not len(rows):
            raise WholewordError(
                f"{folder}: has no validation rows for --validation-data {name}; build shards "
                "with a larger --validation-fraction"
            )
        found[name] = rows
    wanted = options.run.metric_for_best_model
    if (options.run.early_stopping_patience and not found) or (wanted and wanted not in found):
        flag = "--metric-for-best-model " + wanted
        if not wanted:
            flag = f"--early-stopping-patience {options.run.early_stopping_patience}"
        raise WholewordError(
            f"{training.folder}: has no validation rows for {flag}; build shards with a larger "
            "--validation-fraction, or leave the option out"
        )
    return dict(sorted(found.items(), key=lambda item: item[0] != wanted))


def loader_options(
    options: Options,
    plan: EnginePlan,
    manifest: Manifest,
    ranks: Ranks,
    model: PreTrainedModel,
    packed: bool,
) -> LoaderOptions:
    """What this rank's loader does."""
    return LoaderOptions(
        seed=options.optimization.seed,
        micro_batch_size=plan.micro_batch_size,
        max_length=manifest.max_length,
        accumulation=plan.accumulation,
        batch_warmup=options.optimization.batch_warmup,
        world_size=ranks.world_size,
        rank=ranks.rank,
        masking=options.data.masking,
        mlm_probability=options.data.probabilities,
        mask_replace=options.data.replacements,
        layout="packed" if packed else "padded",
        sentence_order=options.data.sentence_order,
        next_sentence=options.data.next_sentence,
        first_position=position_offset(model),
        pin=ranks.device.type == "cuda",
    )


def make_model(
    options: Options,
    plan: EnginePlan,
    manifest: Manifest,
    ranks: Ranks,
    lines: list[str] | None = None,
    shards: Path | None = None,
) -> tuple[PreTrainedModel, str | None]:
    """Load or create the model, and prepare it for packs where they can be.

    Args:
        options: of the command line.
        plan: stage and precision.
        manifest: the shards'.
        ranks: the run's.
        lines: takes what people should know of the model, at least on rank 0.
        shards: the folder of the first dataset on this machine.

    Returns:
        The model, partitioned in ZeRO-3 and else in fp32 on the CPU, and why it takes padded
        batches: None where it takes packs.
    """
    pairs = options.data.sentence_order or options.data.next_sentence
    remote = options.model.trust_remote_code

    capability = min(ranks.gather(gpu_capability(ranks.device)))

    def load() -> tuple[PreTrainedModel, str | None]:
        model = load_model(
            options.model.model,
            shards_vocabulary(shards or options.data.folders[0], manifest),
            overrides=parse_overrides(options.model.config_overrides),
            seed=options.optimization.seed,
            pairs=pairs,
            trust_remote_code=remote,
            notes=lines,
        )
        return model, why_padded(model, ranks.device.type, DTYPES[plan.precision], capability)

    def make(config: PretrainedConfig) -> PreTrainedModel:
        return new_model(config, pairs, options.model.model)

    if plan.stage == 3 and not remote:  # a configuration's foreign class cannot be sent
        with readable_builds(options.run.deepspeed):
            model, padding = load_partitioned(load, make, plan.config, plan.precision, ranks)
    else:
        model, padding = load()
    # In ZeRO-3 only the first rank has seen the checkpoint.
    mark_new_weights(model, ranks.share(new_weights(model) if ranks.first else None))
    (prepare_padded if padding else prepare_packed)(model)
    if ranks.device.type == "cpu":
        use_fast_dropout(model)
    if options.optimization.gradient_checkpointing:
        enable_checkpointing(model, options.model.model)
    return model, padding


def _total_steps(options: Options, mixture: Mixture, loader: LoaderOptions, data_step: int) -> int:
    """The step that the run ends at; `data_step` is where the present data began."""
    if options.optimization.max_steps:
        return options.optimization.max_steps
    if data_step >= loader.batch_warmup:
        loader = replace(loader, batch_warmup=0)
    epochs = options.optimization.num_train_epochs
    counted = count_steps(mixture.first, loader, epochs, mixture.others, mixture.weights)
    return data_step + counted


def make_schedule(
    plan: EnginePlan, options: Options, model: PreTrainedModel, total_steps: int
) -> Schedule:
    """The learning rate over the run."""
    head = math.ceil(options.optimization.head_warmup * total_steps) if new_weights(model) else 0
    warmup = plan.warmup_steps
    if warmup is None:
        warmup = math.ceil(options.optimization.warmup_ratio * (total_steps - head))
    return Schedule(plan.schedule, plan.learning_rate, warmup, total_steps, head)


def _beginning(
    plan: EnginePlan, ranks: Ranks, settings: dict[str, Any], mixture: Mixture, packed: bool
) -> RunProgress:
    return RunProgress(
        step=0,
        epoch=0,
        cursor=Cursor.joined([Cursor()] * len(mixture.datasets)).to_dict(),
        best_loss=None,
        evaluations_since_best=0,
        last_validation=-1,
        packed=packed,
        world_size=ranks.world_size,
        stage=plan.stage,
        precision=plan.precision,
        settings=settings,
    )


def _announce(
    console: Console,
    options: Options,
    plan: EnginePlan,
    ranks: Ranks,
    model: PreTrainedModel,
    padding: str | None,
    schedule: Schedule,
    max_length: int,
) -> None:
    """Say what will run where, and what was changed to make it run."""
    rows = plan.micro_batch_size * plan.accumulation * ranks.world_size
    console.say(
        f"{options.model.model}, {parameter_count(model):,} parameters, on {ranks.world_size} x "
        f"{ranks.device.type}, {plan.precision}, ZeRO {plan.stage}; "
        f"{counted(schedule.total, 'step')} of {rows} x {max_length} = "
        f"{rows * max_length:,} tokens; "
        f"{' + '.join(options.data.data)} -> {options.run.output_dir}"
    )
    for note in plan.notes:
        console.say(f"changed: {note}")
    if ranks.device.type == "cpu" and ranks.world_size > 1:
        console.say("changed: DeepSpeed's shared-memory operator -> gloo: it has to be compiled")
    if padding:
        console.say(f"changed: packs -> padded batches: {padding}")
    elif attention_dropout(model):
        console.say(
            f"changed: attention dropout {attention_dropout(model)} -> 0: packed attention has none"
        )
    if schedule.head_steps:
        console.say(
            f"head warm-up: the first {schedule.head_steps} steps train what is new, at a rate of "
            f"{schedule(schedule.head_steps - 1):g}, and leave the rest as it is (--head-warmup)"
        )


def _warnings(
    options: Options, steps: int, rows: int, validated: bool, head_steps: int
) -> Iterator[str]:
    """What of the run's length and intervals may not be as it was meant; a step has `rows` rows."""
    head, model = options.optimization.head_warmup, options.model.model
    if "head_warmup" in options.given and head and not head_steps:
        state = "begins from nothing" if begins_from_nothing(model) else "lacks no weights"
        yield f"--head-warmup {head:g} has no effect: {model} {state}, so none are trained alone"
    every, save = options.run.eval_steps, options.run.save_steps
    long = counted(steps, "step")
    if steps < _FEW_STEPS and not options.optimization.max_steps:
        yield (
            f"only {long}: a batch of {rows:,} rows is too large for so little text; give a "
            "smaller --global-batch-size or more --num-train-epochs"
        )
    if every and not validated:
        yield f"no validation: {options.data.data[0]} has no validation rows"
    elif every > steps:
        yield f"--eval-steps {every}: the run has {long}, so it validates at both ends only"
    if save > steps:
        yield f"--save-steps {save}: the run has {long}, so only the last one is saved"
