"""What can be set on the command line of `train/pretrain.py`, and what each option means."""

import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from preprocess.addresses import check_address, is_address
from preprocess.errors import WholewordError
from preprocess.foreign_options import TRAINING, explain
from preprocess.places import place
from preprocess.sizes import parse_size
from train.argument_lists import merge_lists, repeated
from train.option_parser import OptionParser, flag
from train.panels import TRAINING_EXAMPLES
from train.recipes import apply_recipe

VALIDATION = "validation"
"""The name of the rows that --data itself puts aside."""
RESERVED = (VALIDATION, "train", "run")
"""Kinds of metrics that no other validation may be named like."""
_LEAST_PATIENCE = 5.0
"""Seconds of --rank-timeout."""
PRECISIONS = ("fp16", "bf16", "fp32")
_PURPOSE = "Pretrain a masked language model on shards. The same command continues a stopped run."


def _option(default: Any, text: str) -> Any:
    """A dataclass field with the text that `--help` shows for it."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class ModelOptions:
    """Which model is trained."""

    model: str = _option(
        "bert-small",
        "A hub id or folder to continue from, or a preset to begin from nothing: "
        "bert-tiny, -mini, -small, -base, -large, modernbert-tiny, -small, -base, -large.",
    )
    config_overrides: str = _option(
        "", "Changes to a preset's configuration: 'hidden_size=256,num_hidden_layers=4'."
    )
    trust_remote_code: bool = _option(False, "Run Python code that a hub model brings along.")


@dataclass(frozen=True)
class DataOptions:
    """What the model reads and what it has to guess."""

    data: list[str] = field(
        default_factory=lambda: ["shards"],
        metadata={
            "help": "The folder or address that `python -m preprocess build-shards` wrote; several "
            "are mixed, and of the validation parts the first one's is scored."
        },
    )
    data_weights: list[float] = field(
        default_factory=list,
        metadata={
            "help": "How many tokens of each --data stand beside how many of the others: 4 1. "
            "Without it each has as many as it holds."
        },
    )
    validation_data: list[str] = field(
        default_factory=list,
        metadata={
            "help": "More validation rows: NAME=FOLDER of shards whose validation part is scored "
            "too, each with a line and a curve of its own."
        },
    )
    masking: Literal["wwm", "token", "span", "ngram"] = _option(
        "wwm", "What is masked together: whole words, tokens, spans of words, or n-grams of words."
    )
    mlm_probability: str = _option(
        "0.15", "Expected share of masked tokens; 'START:END' changes it linearly over the run."
    )
    mask_replace: str = _option(
        "0.8,0.1,0.1", "Shares of chosen tokens that become [MASK], a random id, and stay."
    )
    sentence_order: bool = _option(False, "Also learn whether two halves of a row were swapped.")
    next_sentence: bool = _option(
        False, "Also learn whether a row's second half follows its first."
    )
    check_shards: Literal["sizes", "full"] = _option(
        "sizes", "What is checked before training: file sizes, or every byte's checksum."
    )

    data_cache: str = _option(
        "",
        "Folder on a local disk for what is fetched of a --data that is an address; empty: the "
        "user's cache folder. Ranks and runs share it.",
    )
    data_cache_size: str = _option("100GB", "Most bytes of record batches in --data-cache.")

    def __post_init__(self) -> None:
        self._check_mixture()
        parse_size("--data-cache-size", self.data_cache_size)
        for probability in self.probabilities:
            check_probability(probability)
            if probability == 0:
                raise WholewordError("--mlm-probability 0: masks nothing; write 0.15")
        check_replacements(self.replacements)
        for name in (*self.data, *self.validation_folders.values()):
            if is_address(name):
                check_address(name, "--data")
        taken = set(RESERVED)
        for text in self.validation_data:
            name, _, folder = text.partition("=")
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or not folder:
                raise WholewordError(
                    f"--validation-data {text}: not NAME=FOLDER; write law=law-shards"
                )
            if name in taken:
                raise WholewordError(
                    f"--validation-data {text}: the name {name} is taken; choose another"
                )
            taken.add(name)
        if self.sentence_order and self.next_sentence:
            raise WholewordError(
                "--sentence-order and --next-sentence both want the model's pair head; choose one"
            )

    def _check_mixture(self) -> None:
        if len(set(self.data)) < len(self.data):
            raise WholewordError(f"--data {' '.join(self.data)}: names a folder twice")
        weights = " ".join(f"{weight:g}" for weight in self.data_weights)
        if not weights:
            return
        if len(self.data_weights) != len(self.data):
            raise WholewordError(
                f"--data-weights {weights}: give a weight for each --data, {len(self.data)} in all"
            )
        if not all(0 < weight < float("inf") for weight in self.data_weights):
            raise WholewordError(
                f"--data-weights {weights}: must be numbers above 0; leave a folder out of --data "
                "instead"
            )

    @property
    def folders(self) -> list[Path]:
        """The folders of shards; the first has the tokenizer and the validation rows."""
        return [place(name) for name in self.data]

    @property
    def validation_folders(self) -> dict[str, str]:
        """The folders of --validation-data by their names."""
        return {
            name: folder for name, _, folder in (t.partition("=") for t in self.validation_data)
        }

    @property
    def probabilities(self) -> tuple[float, float]:
        """The masking probability at the first and at the last step."""
        parts = _numbers("--mlm-probability", self.mlm_probability, ":")
        if len(parts) not in (1, 2):
            raise WholewordError(
                f"--mlm-probability {self.mlm_probability}: one or two numbers are needed; "
                "write 0.15, or 0.3:0.15"
            )
        return parts[0], parts[-1]

    @property
    def replacements(self) -> tuple[float, float, float]:
        """Shares of chosen tokens that become the mask, a random id, or stay."""
        parts = _numbers("--mask-replace", self.mask_replace, ",")
        if len(parts) != 3:
            raise WholewordError(
                f"--mask-replace {self.mask_replace}: three shares are needed; write 0.8,0.1,0.1"
            )
        return parts[0], parts[1], parts[2]


@dataclass(frozen=True)
class OptimizationOptions:
    """How the weights are changed, and for how long."""

    recipe: Literal["none", "tapt", "dapt", "from-nothing"] = _option(
        "none",
        "Take rate, epochs, batch size and the like from a published protocol, where the command "
        "line does not give them.",
    )
    num_train_epochs: float = _option(1.0, "How often the training rows are read.")
    max_steps: int = _option(0, "Optimizer steps; 0 means that the epochs decide.")
    per_device_train_batch_size: int = _option(
        8, "Rows of full length in one micro-batch; shorter rows are packed into its room."
    )
    gradient_accumulation_steps: int = _option(1, "Micro-batches a rank sums before a step.")
    global_batch_size: int = _option(
        0, "Rows of full length a step over all ranks; 0 means micro-batch x accumulation x ranks."
    )
    batch_warmup: int = _option(
        0, "Steps over which the accumulation grows from 1 to its full number."
    )
    learning_rate: float = _option(1e-4, "The highest learning rate.")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "wsd"] = _option(
        "linear",
        "What follows the warm-up; wsd holds, then decays with 1 - sqrt over the last fifth.",
    )
    warmup_ratio: float = _option(0.06, "Share of the steps in which the rate rises from 0.")
    head_warmup: float = _option(
        0.1,
        "Share of the steps in which the weights that a checkpoint lacks (its head, new vocabulary "
        "rows) are trained alone; without effect where it lacks none.",
    )
    weight_decay: float = _option(0.01, "AdamW's decay; biases and norms have none.")
    max_grad_norm: float = _option(1.0, "Gradients are scaled down to this norm; 0 leaves them.")
    precision: Literal["auto", "fp16", "bf16", "fp32"] = _option(
        "auto", "Number format of forward and backward; auto is fp16, and on a CPU what it has."
    )
    gradient_checkpointing: bool = _option(False, "Recompute activations: less memory, 1/3 slower.")
    torch_compile: bool = _option(False, "Compile the model with torch.compile.")
    seed: int = _option(42, "Decides initial weights, row order, masks and dropout.")

    def __post_init__(self) -> None:
        for name in ("max_steps", "global_batch_size", "batch_warmup", "weight_decay", "seed"):
            _at_least(name, getattr(self, name), 0)
        for name in ("per_device_train_batch_size", "gradient_accumulation_steps"):
            _at_least(name, getattr(self, name), 1)
        _at_least("max_grad_norm", self.max_grad_norm, 0)
        if self.seed >= 1 << 63:
            raise WholewordError(f"--seed {self.seed}: must be below 2**63")
        if self.torch_compile and not any(map(shutil.which, _compilers())):
            raise WholewordError(
                "--torch-compile: there is no C++ compiler; install g++ (or set CXX to another), "
                "or leave the option out"
            )
        for name, usual in (("warmup_ratio", 0.06), ("head_warmup", 0.1)):
            if not 0 <= (share := getattr(self, name)) < 1:
                raise WholewordError(f"{flag(name)} {share}: not in [0, 1); write {usual}")
        if not 0 < self.learning_rate < 10:
            raise WholewordError(
                f"--learning-rate {self.learning_rate}: not in (0, 10); write 1e-4"
            )
        if not 0 < self.num_train_epochs < 1e9:
            raise WholewordError(
                f"--num-train-epochs {self.num_train_epochs}: not above 0; write 1"
            )


@dataclass(frozen=True)
class RunOptions:
    """Where a run lives, what it reports, and when it saves and stops."""

    output_dir: str = _option(
        "runs/default", "The run's folder: metrics, checkpoints, final model."
    )
    deepspeed: str = _option("ds_configs/zero2.json", "A DeepSpeed configuration file.")
    local_rank: int = _option(-1, "Set by the launcher.")
    node_local_output: bool = _option(
        False,
        "--output-dir is another folder on each machine: each keeps its own files of a checkpoint.",
    )
    rank_timeout: str = _option(
        "10m", "A rank that has not started, or answers no more, ends the run after this time: 5m."
    )
    logging_steps: int = _option(10, "Steps between two lines of metrics.")
    eval_steps: int = _option(500, "Steps between two validations; 0 turns validation off.")
    max_eval_rows: int = _option(
        0, "At most so many rows in each validation, evenly spaced; 0 takes all."
    )
    save_steps: int = _option(
        500, "Steps between two checkpoints; 0 saves one at the last step alone."
    )
    save_time: str = _option("", "Also save when so much time has gone by: 15m.")
    save_total_limit: int = _option(3, "How many checkpoints are kept; 0 keeps all.")
    resume_from_checkpoint: str = _option(
        "auto",
        "auto continues from the newest whole checkpoint, if any; none begins anew, and refuses "
        "a folder that holds a run; RUN/checkpoints/step-N continues from that one.",
    )
    allow_changes: bool = _option(False, "Continue although options that shape results changed.")
    max_train_time: str = _option("", "Save and stop after this time: 8h, 45m, 1h30m.")
    save_final_on_stop: bool = _option(
        False, "Write final/ also where the run is stopped, by a signal or --max-train-time."
    )
    metric_for_best_model: str = _option(
        "",
        "Whose loss decides which model is the best, and when to stop early: a name of "
        "--validation-data, or validation; empty for the first that there is.",
    )
    early_stopping_patience: int = _option(
        0, "Stop after so many validations without a lower loss; 0 never stops early."
    )
    report_to: Literal["none", "tensorboard", "wandb"] = _option(
        "tensorboard",
        "none leaves metrics.jsonl and curves.png alone, wandb adds Weights & Biases.",
    )

    def __post_init__(self) -> None:
        counts = ("eval_steps", "max_eval_rows", "save_steps", "save_total_limit")
        for name in (*counts, "early_stopping_patience"):
            _at_least(name, getattr(self, name), 0)
        _at_least("logging_steps", self.logging_steps, 1)
        for name in ("save_time", "max_train_time"):
            seconds(f"--{name.replace('_', '-')}", getattr(self, name))
        if self.patience < _LEAST_PATIENCE:
            raise WholewordError(
                f"--rank-timeout {self.rank_timeout}: busy machines need {_LEAST_PATIENCE:g}s or "
                "more; write 10m"
            )
        if self.early_stopping_patience and not self.eval_steps:
            raise WholewordError("--early-stopping-patience needs validations; set --eval-steps")

    @property
    def patience(self) -> float:
        """Seconds of --rank-timeout."""
        return seconds("--rank-timeout", self.rank_timeout)


@dataclass(frozen=True)
class Options:
    """Everything the command line says; `given` names the options that it, or a recipe, sets."""

    model: ModelOptions
    data: DataOptions
    optimization: OptimizationOptions
    run: RunOptions
    given: frozenset[str]
    recipe_line: str = ""
    """What --recipe has set, for people."""


_GROUPS: tuple[Any, ...] = (ModelOptions, DataOptions, OptimizationOptions, RunOptions)


def parse(arguments: list[str]) -> Options:
    """Read a command line.

    Raises:
        WholewordError: an option is unknown or its value is impossible.
    """
    parser = OptionParser(_GROUPS, TRAINING, _PURPOSE, TRAINING_EXAMPLES)
    arguments = merge_lists(arguments, parser.lists)
    if name := repeated(arguments, parser.spellings):
        raise _refusal(f"{name[0]} is given {name[1]} times, and takes one value")
    try:
        (model, data, optimization, run), given, unknown = parser.read(arguments)
    except ValueError as error:
        raise _refusal(str(error)) from None
    if unknown:
        raise _refusal(_explain(unknown, parser))
    _check_metric(run, data)
    line = ""
    if optimization.recipe != "none":
        groups = [data, optimization]
        (data, optimization), taken, line = apply_recipe(optimization.recipe, groups, given)
        given |= taken  # a --deepspeed file that says otherwise is refused
    return Options(model, data, optimization, run, given, line)


def _explain(unknown: list[str], parser: OptionParser) -> str:
    options = [word for word in unknown if word.startswith("--") and word != "--"]
    if not options:
        return f"unknown {' '.join(unknown)}"
    return explain(options, TRAINING, parser.spellings)


def _check_metric(run: RunOptions, data: DataOptions) -> None:
    names = [VALIDATION, *data.validation_folders]
    if run.metric_for_best_model and run.metric_for_best_model not in names:
        raise WholewordError(
            f"--metric-for-best-model {run.metric_for_best_model}: names no validation; there is "
            f"{', '.join(names)}"
        )


def _refusal(message: str) -> WholewordError:
    return WholewordError(f"command line: {' '.join(message.split())}; see --help")


def seconds(name: str, text: str) -> float:
    """Read '8h', '45m', '90s' or '1h30m'; an empty text is no limit.

    Raises:
        WholewordError: the text is none of these.
    """
    if not text:
        return float("inf")
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text)
    if not match:
        raise WholewordError(f"{name} {text}: not a duration; write 8h, 45m, 90s or 1h30m")
    hours, minutes, rest = (int(part or 0) for part in match.groups())
    return 3600.0 * hours + 60.0 * minutes + rest


def check_probability(probability: float) -> None:
    """Refuse what is no probability of masking a word.

    Raises:
        WholewordError: it is not from 0 to 1.
    """
    if not 0 <= probability <= 1:
        raise WholewordError(
            f"--mlm-probability {probability}: not from 0 to 1; write 0.15, or 0.3:0.15 to go from "
            "one to the other"
        )


def check_replacements(shares: tuple[float, ...]) -> None:
    """Refuse what are no shares of [MASK], random ids and unchanged tokens.

    Raises:
        WholewordError: they are not three, one is negative, or they do not add up to 1.
    """
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise WholewordError(
            f"--mask-replace {','.join(map(str, shares))}: three shares that add up to 1 are "
            "needed (masked, random, unchanged); write 0.8,0.1,0.1"
        )


def parse_overrides(text: str) -> dict[str, str]:
    """Read 'hidden_size=256,num_hidden_layers=4'; an empty text is no override.

    Raises:
        WholewordError: a part is not a name and a value.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    for name, equals, value in pairs:
        if not (name.strip() and equals and value.strip()):
            raise WholewordError(
                f"--config-overrides {text}: {name!r} is not name=value; write "
                "hidden_size=256,num_hidden_layers=4"
            )
    return {name.strip(): value.strip() for name, _, value in pairs}


def _numbers(name: str, text: str, separator: str) -> list[float]:
    try:
        return [float(part) for part in text.split(separator)]
    except ValueError:
        raise WholewordError(f"{name} {text}: not numbers joined by {separator!r}") from None


def _compilers() -> list[str]:
    """What torch.compile's backends look for, on a CPU and on a GPU."""
    named = [os.environ[name] for name in ("CXX", "CC") if os.environ.get(name)]
    return [*named, "g++", "gcc", "clang++", "clang"]


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise WholewordError(f"{flag(name)} {value}: must be {least} or more")
