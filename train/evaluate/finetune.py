"""Fine-tune one model on one set of labels: the same for all, and the same again for a seed.

The usual head of transformers, AdamW, linear warm-up and decay. The validation part decides when to
stop and which state is kept; the test part is predicted once, at the end.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PretrainedConfig,
    get_linear_schedule_with_warmup,
)

from train.data.collate import IGNORE_INDEX
from train.engine.optimizer import parameter_groups
from train.engine.precision import cpu_has_bf16
from train.evaluate.contenders import ModelSource
from train.evaluate.encoded_task import EncodedTask
from train.evaluate.splits import TaskSplit
from train.evaluate.task_file import Task
from train.model.vocabulary_check import check_encoder_weights, readable_errors

MIN_STEPS = 300
"""Optimizer steps at least, where `MAX_EPOCHS` allows; the floor of the trial was too short."""
MIN_EPOCHS = 5
MAX_EPOCHS = 30
EVALUATIONS = 10
PATIENCE = 4
"""Evaluations without a better accuracy or loss after which a run stops."""
MONITORED = 400
"""Validation examples that watch a run; all of them judge it at its end."""
_WARMUP = 0.1
_WEIGHT_DECAY = 0.01
_EVALUATION_BATCH = 64
_BAD_LOSS = 1e6  # of a run that has diverged: JSON has no NaN


@dataclass(frozen=True)
class FineTuneOptions:
    """What one fine-tuning depends on beside its model and its labels."""

    learning_rate: float
    seed: int
    epochs: int | None = None
    """None: as many as `count_epochs` says."""


@dataclass(frozen=True)
class Outcome:
    """What one fine-tuning has reached."""

    accuracy: float
    """Share of the test part's labels (of its words' tags) that are right."""
    macro_f1: float
    """Unweighted mean of F1 over the labels that the test part has."""
    validation_accuracy: float
    validation_macro_f1: float
    validation_loss: float
    steps: int
    """Optimizer steps done."""
    planned_steps: int
    best_step: int
    """The step whose state was kept."""
    predictions: list[list[int]]
    """For each test example its labels; -1 for words cut off."""


def batch_size_for(count: int) -> int:
    """Examples in a batch."""
    return 32 if count > 1000 else 16


def count_epochs(count: int, epochs: int | None = None) -> int:
    """Epochs over `count` labels: 300 steps and 5 epochs at least, 30 epochs at most."""
    if epochs is not None:
        return epochs
    steps_an_epoch = math.ceil(count / batch_size_for(count))
    return min(MAX_EPOCHS, max(MIN_EPOCHS, math.ceil(MIN_STEPS / steps_an_epoch)))


def count_steps(count: int, epochs: int | None = None) -> int:
    """Optimizer steps of a fine-tuning that does not stop early."""
    return count_epochs(count, epochs) * math.ceil(count / batch_size_for(count))


def has_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bf16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_has_bf16()


def fine_tune(
    source: ModelSource,
    config: PretrainedConfig,
    task: Task,
    encoded: EncodedTask,
    split: TaskSplit,
    rows: np.ndarray,
    options: FineTuneOptions,
    on_step: Callable[[int], None] = lambda step: None,
) -> Outcome:
    """Fine-tune and predict.

    Args:
        source: where the weights come from.
        config: its configuration.
        task: the task.
        encoded: the task's examples as the model's tokenizer has them.
        split: the parts.
        rows: int64, the labelled examples to learn from.
        options: rate and seed.
        on_step: called with the number of every optimizer step.

    Raises:
        WholewordError: the weights cannot be loaded.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    planned = count_steps(len(rows), options.epochs)
    every = max(1, planned // EVALUATIONS)
    with _deterministic(device, options.seed):
        model = _load(source, config, task).to(device)
        keeper = _Keeper(model)
        groups = parameter_groups(model, _WEIGHT_DECAY)
        optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)
        schedule = get_linear_schedule_with_warmup(optimizer, round(_WARMUP * planned), planned)
        watched = split.validation[:MONITORED]
        step = 0
        for step, batch in enumerate(_training_batches(encoded, rows, options, planned), start=1):
            model.train()
            loss_sum, labels, _ = _forward(model, encoded, batch, device)
            (loss_sum / max(labels, 1)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            on_step(step)
            if step == planned or (step % every == 0 and planned - step >= every):
                predictions, loss = _predict(model, encoded, watched, device)
                if keeper.has_lost_patience(step, accuracy_of(task, watched, predictions), loss):
                    break
        keeper.restore()
        validation, loss = _predict(model, encoded, split.validation, device)
        test, _ = _predict(model, encoded, split.test, device)
    return Outcome(
        accuracy=accuracy_of(task, split.test, test),
        macro_f1=macro_f1_of(task, split.test, test),
        validation_accuracy=accuracy_of(task, split.validation, validation),
        validation_macro_f1=macro_f1_of(task, split.validation, validation),
        validation_loss=loss,
        steps=step,
        planned_steps=planned,
        best_step=keeper.best_step,
        predictions=test,
    )


def accuracy_of(task: Task, rows: np.ndarray, predictions: list[list[int]]) -> float:
    """Share of labels that are right."""
    truth, found = _flat(task, rows, predictions)
    return float((truth == found).mean())


def macro_f1_of(task: Task, rows: np.ndarray, predictions: list[list[int]]) -> float:
    """Mean F1 of the labels that the examples have."""
    truth, found = _flat(task, rows, predictions)
    present = np.unique(truth)
    return float(f1_score(truth, found, labels=present, average="macro", zero_division=0))


def _flat(
    task: Task, rows: np.ndarray, predictions: list[list[int]]
) -> tuple[np.ndarray, np.ndarray]:
    truth = np.array([label for row in rows for label in task.labels[row]])
    return truth, np.array([label for labels in predictions for label in labels])


class _Keeper:
    """The best state so far, and how long ago anything got better."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._best = (-1.0, -math.inf)
        self._lowest = math.inf
        self._since = 0
        self._state: dict[str, Tensor] | None = None
        self.best_step = 0

    def has_lost_patience(self, step: int, accuracy: float, loss: float) -> bool:
        better = (accuracy, -loss) > self._best
        self._since = 0 if better or loss < self._lowest else self._since + 1
        self._lowest = min(loss, self._lowest)
        if better:
            self._best, self.best_step = (accuracy, -loss), step
            weights = self._model.state_dict()
            self._state = {name: value.detach().clone() for name, value in weights.items()}
        return self._since >= PATIENCE

    def restore(self) -> None:
        if self._state is not None:
            self._model.load_state_dict(self._state)


@contextlib.contextmanager
def _deterministic(device: torch.device, seed: int) -> Iterator[None]:
    """Random numbers of the seed inside; outside nothing has changed."""
    on_gpu = device.type == "cuda"  # a CPU repeats itself anyway, with the same number of threads
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.manual_seed(seed)
        if on_gpu:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)


def _load(source: ModelSource, config: PretrainedConfig, task: Task) -> Any:
    """The model with a head for the task's labels, fp32; what is new is drawn from the seed."""
    tagging = task.kind == "tagging"
    model_class = AutoModelForTokenClassification if tagging else AutoModelForSequenceClassification
    config.num_labels = len(task.label_names)
    with readable_errors(source.path):
        if source.is_random:
            return model_class.from_config(
                config, dtype=torch.float32, trust_remote_code=source.trust_remote_code
            )
        model, report = model_class.from_pretrained(
            source.path,
            config=config,
            dtype=torch.float32,
            weights_only=True,
            ignore_mismatched_sizes=True,  # a head for other labels is made anew
            output_loading_info=True,
            trust_remote_code=source.trust_remote_code,
        )
    check_encoder_weights(model, set(report["missing_keys"]), source.path)
    return model


def _training_batches(
    encoded: EncodedTask, rows: np.ndarray, options: FineTuneOptions, steps: int
) -> Iterator[np.ndarray]:
    """Batches of examples, epoch after epoch; in each, lengths are alike.

    An epoch is shuffled, cut into pools of some batches, and each pool sorted by length. A pool is
    a quarter of the epoch at most, or few labels would meet the same company again and again.
    """
    size = batch_size_for(len(rows))
    batches_an_epoch = math.ceil(len(rows) / size)
    pool = size * min(16, max(1, batches_an_epoch // 4))
    for epoch in range(steps // batches_an_epoch):
        rng = np.random.default_rng([options.seed, epoch])
        order = rng.permutation(rows)
        batches = []
        for first in range(0, len(order), pool):
            part = order[first : first + pool]
            part = part[np.argsort(encoded.lengths[part], kind="stable")]
            batches += [part[i : i + size] for i in range(0, len(part), size)]
        for number in rng.permutation(len(batches)):
            yield batches[number]


def _forward(
    model: Any, encoded: EncodedTask, rows: np.ndarray, device: torch.device
) -> tuple[Tensor, int, Tensor]:
    """Summed cross-entropy, the number of labels in it, and fp32 logits `[..., labels]`."""
    inputs, targets = encoded.batch(rows)
    inputs = {name: value.to(device) for name, value in inputs.items()}
    with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
        logits = model(**inputs).logits
    logits = logits.float()
    flat = targets.to(device).flatten()
    loss_sum = functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), flat, ignore_index=IGNORE_INDEX, reduction="sum"
    )
    return loss_sum, int((targets != IGNORE_INDEX).sum()), logits


def _predict(
    model: Any, encoded: EncodedTask, rows: np.ndarray, device: torch.device
) -> tuple[list[list[int]], float]:
    """The likeliest labels of every example, in the order of `rows`, and the mean loss."""
    model.eval()
    order = np.argsort(encoded.lengths[rows], kind="stable")
    found: list[list[int]] = [[] for _ in rows]
    loss_sum, labels = 0.0, 0
    with torch.inference_mode():
        for first in range(0, len(order), _EVALUATION_BATCH):
            part = order[first : first + _EVALUATION_BATCH]
            batch_loss, batch_labels, logits = _forward(model, encoded, rows[part], device)
            loss_sum, labels = loss_sum + float(batch_loss), labels + batch_labels
            likeliest = logits.argmax(-1).cpu().numpy()
            for place, row, answer in zip(part, rows[part], likeliest, strict=True):
                found[place] = encoded.read_off(int(row), answer)
    loss = loss_sum / max(labels, 1)
    return found, min(loss, _BAD_LOSS) if math.isfinite(loss) else _BAD_LOSS
