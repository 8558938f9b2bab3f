"""A task as one tokenizer has it: ids of every example, and where its labels stand."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from preprocess.encode.tokenizer import LoadedTokenizer
from train.data.collate import IGNORE_INDEX
from train.evaluate.task_file import Task

NOT_PREDICTED = -1
"""Stands for the tag of a word that was cut off; it is never right."""


@dataclass(frozen=True)
class EncodedTask:
    """Sequences have one entry an example."""

    input_ids: list[list[int]]
    """With special tokens, cut at the longest length."""
    type_ids: list[list[int]] | None
    """Which of two texts a token is of; None where the model does not ask."""
    is_tagged: bool
    targets: list[list[int]]
    """One label; or for tags one a token: `IGNORE_INDEX` but at the first piece of each."""
    words: list[int]
    """Tags to predict; 1 where an example has one label."""
    places: list[list[int]]
    """The word of each token that has a target; empty where an example has one label."""
    lengths: np.ndarray
    """int64, tokens."""
    pad_id: int
    is_cut: np.ndarray
    """bool, whether it was longer than the longest length."""

    @property
    def highest_id(self) -> int:
        """The highest id that a batch may hold."""
        return max(self.pad_id, *map(max, self.input_ids))

    def batch(self, rows: np.ndarray) -> tuple[dict[str, Tensor], Tensor]:
        """Padded inputs, int64 `[rows, tokens]`, and targets `[rows]` or `[rows, tokens]`."""
        ids = [self.input_ids[row] for row in rows]
        inputs = {
            "input_ids": _rectangle(ids, self.pad_id),
            "attention_mask": _rectangle([[1] * len(row) for row in ids], 0),
        }
        if self.type_ids is not None:
            inputs["token_type_ids"] = _rectangle([self.type_ids[row] for row in rows], 0)
        targets = [self.targets[row] for row in rows]
        if not self.is_tagged:
            return inputs, torch.tensor([target[0] for target in targets])
        return inputs, _rectangle(targets, IGNORE_INDEX)

    def read_off(self, row: int, likeliest: np.ndarray) -> list[int]:
        """The predicted labels of an example: of the whole, or of each word."""
        if not self.is_tagged:
            return [int(likeliest)]
        found = [NOT_PREDICTED] * self.words[row]
        at = [token for token, target in enumerate(self.targets[row]) if target != IGNORE_INDEX]
        for token, word in zip(at, self.places[row], strict=True):
            found[word] = int(likeliest[token])
        return found


def encode_task(
    task: Task, tokenizer: LoadedTokenizer, max_length: int, has_type_ids: bool
) -> EncodedTask:
    """Tokenize all examples, at most `max_length` tokens each, special tokens included.

    Args:
        task: the task.
        tokenizer: the model's.
        max_length: where longer examples are cut; of a pair, the longer text is cut first.
        has_type_ids: whether the model tells the texts of a pair apart by a type of token.
    """
    source = tokenizer.source
    settings: dict[str, Any] = {"truncation": True, "max_length": max_length}
    if task.kind == "tagging":
        made = source([list(words) for words in task.words], is_split_into_words=True, **settings)
    elif task.kind == "pair":
        made = source(list(task.texts), list(task.pairs), **settings)
    else:
        made = source(list(task.texts), **settings)
    targets, places = [], []
    for number, labels in enumerate(task.labels):
        firsts = _first_pieces(made.word_ids(number)) if task.kind == "tagging" else []
        if task.kind == "tagging":
            targets.append([IGNORE_INDEX if word is None else labels[word] for word in firsts])
        else:
            targets.append(list(labels))
        places.append([word for word in firsts if word is not None])
    return EncodedTask(
        input_ids=made["input_ids"],
        type_ids=made.get("token_type_ids") if has_type_ids and task.kind == "pair" else None,
        is_tagged=task.kind == "tagging",
        targets=targets,
        words=[len(labels) for labels in task.labels],
        places=places,
        lengths=np.array([len(ids) for ids in made["input_ids"]], np.int64),
        pad_id=tokenizer.special.pad_id,
        is_cut=np.array([bool(encoding.overflowing) for encoding in made.encodings]),
    )


def _first_pieces(words: list[int | None]) -> list[int | None]:
    """The word of each token that is the first piece of one; None for others."""
    return [word if i == 0 or words[i - 1] != word else None for i, word in enumerate(words)]


def _rectangle(rows: list[list[int]], fill: int) -> Tensor:
    """int64 `[rows, longest]`."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])
