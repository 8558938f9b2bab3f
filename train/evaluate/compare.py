"""The comparison: which fine-tunings there are, in which order, and what is already done.

For each contender and number of labels, the first model is fine-tuned with the first seed at every
learning rate, and the validation part picks one. Then come the other seeds and models at it.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xxhash

from train.evaluate import floor
from train.evaluate.claim import claim_output
from train.evaluate.contenders import (
    Contender,
    ModelSource,
    check_ids,
    find_sources,
    fingerprint,
    load_source,
    parse_contenders,
    room_for_tokens,
)
from train.evaluate.encoded_task import EncodedTask, encode_task
from train.evaluate.finetune import (
    EVALUATIONS,
    MONITORED,
    FineTuneOptions,
    Outcome,
    accuracy_of,
    batch_size_for,
    count_steps,
    fine_tune,
    macro_f1_of,
)
from train.evaluate.run_store import Origin, RunStore, check_reused
from train.evaluate.seen import find_seen
from train.evaluate.splits import TaskSplit, leave_out, make_split, resolve_labels, subset
from train.evaluate.task_file import Columns, Task, read_task

LEARNING_RATES = (2e-5, 5e-5, 1e-4, 3e-4, 1e-3)
"""From what large models take to what small ones need; the same for all."""
PROTOCOL = 1
"""Changes whenever the same options give other numbers."""
_FLOOR_COST = 1e4  # a row's, beside the weights that a model multiplies a row with


@dataclass(frozen=True)
class CompareOptions:
    """What a comparison is asked for."""

    task: Path
    models: tuple[str, ...]
    """Each `PATH` or `NAME=PATH[,PATH...]`; differences are to the first."""
    output: Path
    test: Path | None = None
    """A test file, instead of a share of the task file."""
    labels: tuple[str, ...] = ("100", "1000", "all")
    seeds: int = 5
    columns: Columns = field(default_factory=Columns)
    learning_rates: tuple[float, ...] = LEARNING_RATES
    epochs: int | None = None
    max_length: int = 128
    tokenizer: str | None = None
    """Of models that bring none."""
    seen_in: tuple[Path, ...] = ()
    """Shards whose documents are left out of the test part."""
    trust_remote_code: bool = False
    reuse: tuple[Path, ...] = ()
    """Folders of other comparisons, whose fine-tunings are not done again."""


@dataclass(frozen=True)
class LoadedModel:
    """What is known of a model before its weights are read."""

    source: ModelSource
    config: Any
    encoded: EncodedTask
    max_length: int
    fingerprint: str


@dataclass(frozen=True)
class Setting:
    """A comparison that is checked and ready."""

    options: CompareOptions
    task: Task
    split: TaskSplit
    labels: tuple[int, ...]
    contenders: tuple[Contender, ...]
    models: dict[str, LoadedModel]
    """By path."""


@dataclass(frozen=True)
class Result:
    """One fine-tuning, or one fit of the floor."""

    model: str
    """The contender's name."""
    path: str
    labels: int
    seed: int
    learning_rate: float | None
    regularization: float | None
    """The floor's C."""
    outcome: Outcome


@dataclass(frozen=True)
class Comparison:
    """Everything that was found."""

    setting: Setting
    results: tuple[Result, ...]
    """At the chosen rates, the floor's last."""
    sweep: tuple[Result, ...]
    """Of the first model and seed, at every rate."""

    def names(self) -> list[str]:
        """The contenders and the floor."""
        names = [contender.name for contender in self.setting.contenders]
        return [*names, floor.name_of(self.setting.task.kind)]

    def of(self, model: str, labels: int) -> list[Result]:
        """A contender's results for a number of labels, by model, then seed."""
        return [r for r in self.results if r.model == model and r.labels == labels]

    def correct(self, model: str, labels: int) -> np.ndarray:
        """Correct predictions of each example: int64 `[models, seeds, examples]`."""
        task, test = self.setting.task, self.setting.split.test
        results = self.of(model, labels)
        counts = [
            [
                sum(a == b for a, b in zip(found, task.labels[row], strict=True))
                for found, row in zip(result.outcome.predictions, test, strict=True)
            ]
            for result in results
        ]
        return np.array(counts, np.int64).reshape(-1, self.setting.options.seeds, len(test))

    def sizes(self) -> np.ndarray:
        """Predictions in each test example: int64 `[examples]`."""
        task = self.setting.task
        return np.array([len(task.labels[row]) for row in self.setting.split.test], np.int64)


class Listener(Protocol):
    """Who hears how far a comparison is; costs are in no unit."""

    def begin(self, cost: float, runs: int) -> None:
        """All that there is to do."""

    def advance(self, cost: float) -> None:
        """Some of it was done now."""

    def finish(self, result: Result, origin: Origin, cost: float) -> None:
        """A run has ended, or was there; `cost` is what of it `advance` has not said."""


def prepare(options: CompareOptions) -> Setting:
    """Read the task and the models, and check everything that can be checked before the work.

    Raises:
        WholewordError: the task file, a model or an option is not fit, or `output` holds another
            comparison.
    """
    contenders = parse_contenders(options.models)
    check_reused(options.reuse)
    task = read_task(options.task, options.columns, options.test)
    split = make_split(task)
    sources = find_sources(contenders, options.tokenizer, options.trust_remote_code)
    seen: set[int] = set()
    for shards in options.seen_in:
        seen |= find_seen(task, split.test, shards)
    split = leave_out(task, split, seen)
    labels = resolve_labels(task, split, options.labels)
    models: dict[str, LoadedModel] = {}
    encodings: dict[tuple[str, int, bool], EncodedTask] = {}
    for path, source in sources.items():
        tokenizer, config = load_source(source, options.max_length)
        length = min(options.max_length, room_for_tokens(config, source))
        typed = getattr(config, "type_vocab_size", 0) > 1
        key = (tokenizer.sha256, length, typed)
        if key not in encodings:
            encodings[key] = encode_task(task, tokenizer, length, typed)
        check_ids(source, config, encodings[key].highest_id)
        models[path] = LoadedModel(source, config, encodings[key], length, fingerprint(source))
    setting = Setting(options, task, split, labels, contenders, models)
    claim_output(options.output, identity(setting), "a comparison")
    return setting


def identity(setting: Setting) -> dict[str, Any]:
    """Everything that the numbers depend on, as JSON, with the names of the options."""
    options = setting.options
    return {
        "protocol": PROTOCOL,
        "task": [str(options.task), str(options.test or ""), setting.task.fingerprint],
        "columns": asdict(options.columns),
        "models": {c.name: list(c.paths) for c in setting.contenders},
        "weights": {path: model.fingerprint for path, model in setting.models.items()},
        "labels": list(setting.labels),
        "seeds": options.seeds,
        "learning_rates": list(options.learning_rates),
        "epochs": options.epochs,
        "max_length": options.max_length,
        "seen_in": [str(path) for path in options.seen_in],
        "split": setting.split.counts(),
    }


def compare(setting: Setting, listener: Listener) -> Comparison:
    """Do every fine-tuning that is not done yet."""
    options = setting.options
    runs = len(options.learning_rates) - 1
    costs = {
        (path, count): _cost(setting, path, count)
        for path in setting.models
        for count in setting.labels
    }
    total, number = 0.0, 0
    for count in setting.labels:
        for contender in setting.contenders:
            for path in contender.paths:
                total += costs[path, count] * options.seeds
            total += costs[contender.paths[0], count] * runs
            number += len(contender.paths) * options.seeds + runs
        total += options.seeds * _floor_cost(setting, count)
        number += options.seeds
    listener.begin(total, number)
    results: list[Result] = []
    sweep: list[Result] = []
    for count in setting.labels:
        for contender in setting.contenders:
            tried, chosen = _compare_one(setting, contender, count, listener, costs)
            sweep += tried
            results += chosen
        for seed in range(options.seeds):
            results.append(_floor(setting, count, seed, listener))
    return Comparison(setting, tuple(results), tuple(sweep))


def _compare_one(
    setting: Setting,
    contender: Contender,
    count: int,
    listener: Listener,
    costs: dict[tuple[str, int], float],
) -> tuple[list[Result], list[Result]]:
    """The sweep of a contender at a number of labels, and its results at the rate chosen."""

    def run(path: str, seed: int, rate: float) -> Result:
        return _fine_tune(setting, contender.name, path, count, seed, rate, listener, costs)

    tried = [run(contender.paths[0], 0, rate) for rate in setting.options.learning_rates]
    best = max(tried, key=lambda r: (r.outcome.validation_accuracy, -r.outcome.validation_loss))
    assert best.learning_rate is not None
    chosen = [
        best if (path, seed) == (contender.paths[0], 0) else run(path, seed, best.learning_rate)
        for path in contender.paths
        for seed in range(setting.options.seeds)
    ]
    return tried, chosen


def _fine_tune(
    setting: Setting,
    name: str,
    path: str,
    count: int,
    seed: int,
    rate: float,
    listener: Listener,
    costs: dict[tuple[str, int], float],
) -> Result:
    model, epochs = setting.models[path], setting.options.epochs
    rows = subset(setting.task, setting.split, count, seed)
    cost = costs[path, count]
    share = cost / count_steps(count, epochs)
    said = 0.0

    def on_step(step: int) -> None:
        nonlocal said
        said += share
        listener.advance(share)

    def work() -> Outcome:
        how = FineTuneOptions(rate, seed, epochs)
        args = (model.source, model.config, setting.task, model.encoded, setting.split, rows, how)
        return fine_tune(*args, on_step)

    key = {
        "model": model.fingerprint,
        "learning_rate": rate,
        "max_length": model.max_length,
        "epochs": epochs,
        "labels": count,
        "seed": seed,
    }
    found = _store(setting).find_or_make(key, lambda: (work(), 0.0))
    result = Result(name, path, count, seed, rate, None, found.outcome)
    listener.finish(result, found.origin, cost - said)
    return result


def _floor(setting: Setting, count: int, seed: int, listener: Listener) -> Result:
    task, split = setting.task, setting.split

    def work() -> tuple[Outcome, float]:
        found, strength = floor.predict_floor(task, split, subset(task, split, count, seed))
        middle = len(split.validation)
        validation, test = found[:middle], found[middle:]
        outcome = Outcome(
            accuracy=accuracy_of(task, split.test, test),
            macro_f1=macro_f1_of(task, split.test, test),
            validation_accuracy=accuracy_of(task, split.validation, validation),
            validation_macro_f1=macro_f1_of(task, split.validation, validation),
            validation_loss=0.0,
            steps=0,
            planned_steps=0,
            best_step=-1,
            predictions=test,
        )
        return outcome, strength

    name = floor.name_of(task.kind)
    key = {"model": name, "labels": count, "seed": seed}
    found = _store(setting).find_or_make(key, work)
    strength = found.regularization
    result = Result(name, name, count, seed, None, strength, found.outcome)
    cost = _floor_cost(setting, count)
    if found.origin == "made":
        listener.advance(cost)
    listener.finish(result, found.origin, 0.0 if found.origin == "made" else cost)
    return result


def _store(setting: Setting) -> RunStore:
    common = {
        "protocol": PROTOCOL,
        "task": setting.task.fingerprint,
        "columns": asdict(setting.options.columns),
        "parts": _parts_digest(setting.split),
    }
    return RunStore(setting.options.output, setting.options.reuse, common)


def _parts_digest(split: TaskSplit) -> str:
    parts = (split.train, split.validation, split.test)
    return xxhash.xxh3_64_hexdigest(b"\0".join(part.tobytes() for part in parts))


def _cost(setting: Setting, path: str, count: int) -> float:
    """About how long a fine-tuning takes, in rows times weights; forward and backward is 3."""
    config, split = setting.models[path].config, setting.split
    layers = getattr(config, "num_hidden_layers", None) or 6
    hidden = getattr(config, "hidden_size", None) or 768
    trained = 3 * count_steps(count, setting.options.epochs) * batch_size_for(count)
    judged = EVALUATIONS * min(MONITORED, len(split.validation)) + len(split.validation)
    return float(layers * hidden**2) * (trained + judged + len(split.test))


def _floor_cost(setting: Setting, count: int) -> float:
    return _FLOOR_COST * (count + len(setting.split.validation) + len(setting.split.test))
