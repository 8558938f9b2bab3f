"""The floor: what counting does without any pretraining, on the same texts and seeds.

A model below it says little about its pretraining: its fine-tuning has not learnt the task.
"""

from collections import Counter

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from preprocess.read.unicode import is_han
from train.evaluate.splits import TaskSplit
from train.evaluate.task_file import Task

N_GRAMS = "n-grams"
TAGS = "commonest tags"
NAMES = (N_GRAMS, TAGS)
"""Of the floor in tables, by the kind of task."""
REGULARIZATION = (0.1, 1.0, 10.0, 100.0)
"""Inverse strengths C that the validation part chooses from."""
_HAN_TEXTS = 0.1
_SAMPLE = 1000


def name_of(kind: str) -> str:
    """The floor's name for a kind of task."""
    return TAGS if kind == "tagging" else N_GRAMS


def describe_floor(task: Task) -> str:
    """What the floor is for this task, in words."""
    if task.kind == "tagging":
        return "the commonest tag of each word"
    unit = "characters" if has_han_texts(task) else "words"
    return f"TF-IDF of {unit}, 1- and 2-grams, with logistic regression"


def has_han_texts(task: Task) -> bool:
    """Whether a tenth of the texts, or more, hold Han characters, which spaces do not divide."""
    sample = task.texts[:_SAMPLE]
    return sum(any(map(is_han, text)) for text in sample) >= _HAN_TEXTS * len(sample)


def predict_floor(task: Task, split: TaskSplit, rows: np.ndarray) -> tuple[list[list[int]], float]:
    """Labels of the validation and then the test examples, and C (0 for tags).

    Args:
        task: the task.
        split: its parts.
        rows: int64, the labelled examples to learn from.
    """
    if task.kind == "tagging":
        return _commonest_tags(task, split, rows), 0.0
    return _regression(task, split, rows)


def _regression(task: Task, split: TaskSplit, rows: np.ndarray) -> tuple[list[list[int]], float]:
    classes = np.array(task.classes)
    held_out = np.concatenate([split.validation, split.test])
    train, asked = _features(task, rows, held_out)
    truth = classes[split.validation]
    best, found, chosen = -1.0, np.zeros(len(held_out), int), 0.0
    for strength in REGULARIZATION:
        model = LogisticRegression(C=strength, max_iter=1000)
        predicted = model.fit(train, classes[rows]).predict(asked)
        accuracy = float((predicted[: len(truth)] == truth).mean())
        if accuracy > best:
            best, found, chosen = accuracy, predicted, strength
    return [[int(label)] for label in found], chosen


def _features(task: Task, rows: np.ndarray, held_out: np.ndarray) -> tuple[object, object]:
    """Sparse TF-IDF of the labelled and of the held-out examples; the words are the labelled's."""
    from scipy.sparse import hstack

    if has_han_texts(task):
        settings = {"analyzer": "char"}
    else:  # scikit-learn's own pattern leaves words of one letter out
        settings = {"analyzer": "word", "token_pattern": r"(?u)\b\w+\b"}
    columns = [task.texts, task.pairs] if task.kind == "pair" else [task.texts]
    blocks = []
    for column in columns:
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, **settings)
        try:
            train = vectorizer.fit_transform([column[i] for i in rows])
        except ValueError:  # no text holds a word: marks alone
            vectorizer.set_params(analyzer="char")
            train = vectorizer.fit_transform([column[i] for i in rows])
        blocks.append((train, vectorizer.transform([column[i] for i in held_out])))
    return hstack([b[0] for b in blocks], "csr"), hstack([b[1] for b in blocks], "csr")


def _commonest_tags(task: Task, split: TaskSplit, rows: np.ndarray) -> list[list[int]]:
    overall: Counter[int] = Counter()
    tags: dict[str, Counter[int]] = {}
    for index in rows:
        overall.update(task.labels[index])
        for word, tag in zip(task.words[index], task.labels[index], strict=True):
            tags.setdefault(word, Counter())[tag] += 1
    common = _first(overall)
    best = {word: _first(counts) for word, counts in tags.items()}
    held_out = np.concatenate([split.validation, split.test])
    return [[best.get(word, common) for word in task.words[index]] for index in held_out]


def _first(counts: Counter[int]) -> int:
    """The commonest; of equals, the lowest."""
    return min(counts, key=lambda tag: (-counts[tag], tag))
