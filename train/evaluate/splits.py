"""Which texts train, which choose and which judge: by a stable hash of the text.

What decides is the text alone (white space aside), so that copies of one text always land together,
a text keeps its part when others are added, and every model and seed is judged by the same texts.
"""

from dataclasses import dataclass, replace

import numpy as np
import xxhash

from preprocess.errors import WholewordError
from train.evaluate.task_file import Task

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.1
MAX_TEST = 2000
MAX_VALIDATION = 1000
_RANGE = float(1 << 64)


@dataclass(frozen=True)
class TaskSplit:
    """The parts of a task: int64 indices of its examples, in order of their hashes."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    copies: int
    """Examples left out because their text stands earlier in the same file."""
    contradictions: int
    """How many of the copies have another label."""
    in_test_file: int
    """Training texts left out because they stand in the test file."""
    seen: int = 0
    """Test texts left out because a model was trained on them."""

    def counts(self) -> dict[str, int]:
        """Sizes and what was left out, for people and for JSON."""
        return {
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
            "copies": self.copies,
            "contradictions": self.contradictions,
            "in_test_file": self.in_test_file,
            "seen": self.seen,
        }


def make_split(task: Task) -> TaskSplit:
    """Divide a task: 20% test (at most 2,000 texts), 10% validation (at most 1,000), the rest.

    A test file is the test part as it is, but for copies within it.

    Raises:
        WholewordError: a part is empty, or has labels that the training part lacks.
    """
    hashes = _hashes(task)
    given = np.arange(len(task)) >= task.first_test
    own, copies, contradictions = _distinct(task, np.flatnonzero(~given), hashes)
    test, more, others = _distinct(task, np.flatnonzero(given), hashes)
    in_test_file = 0
    if len(test):
        shared = np.isin(hashes[own], hashes[test])
        in_test_file, own = int(shared.sum()), own[~shared]
    own = own[np.argsort(hashes[own], kind="stable")]
    place = hashes[own].astype(np.float64) / _RANGE
    if not given.any():
        test, own, place = _take(own, place, place < TEST_SHARE, MAX_TEST)
    kept = (place >= TEST_SHARE) & (place < TEST_SHARE + VALIDATION_SHARE)
    validation, train, _ = _take(own, place, kept, MAX_VALIDATION)
    split = TaskSplit(train, validation, test, copies + more, contradictions + others, in_test_file)
    _check_parts(task, split)
    return split


def _hashes(task: Task) -> np.ndarray:
    """XXH3-64 of every example's text or pair of texts, runs of white space as one: uint64."""
    keys = (
        "\0".join(" ".join(text.split()) for text in texts)
        for texts in zip(task.texts, task.pairs, strict=True)
    )
    return np.array(
        [xxhash.xxh3_64_intdigest(key.encode("utf-8", "surrogatepass")) for key in keys], np.uint64
    )


def _distinct(task: Task, indices: np.ndarray, hashes: np.ndarray) -> tuple[np.ndarray, int, int]:
    """The first example of each text, the number of the others, and of those that contradict it."""
    first: dict[int, int] = {}
    contradictions = 0
    for index in indices.tolist():
        earlier = first.setdefault(int(hashes[index]), index)
        contradictions += task.labels[earlier] != task.labels[index]
    return np.array(list(first.values()), np.int64), len(indices) - len(first), contradictions


def _take(
    indices: np.ndarray, place: np.ndarray, wanted: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first `most` of the wanted indices, the other indices, and the others' places."""
    taken = wanted & (np.cumsum(wanted) <= most)
    return indices[taken], indices[~taken], place[~taken]


def _check_parts(task: Task, split: TaskSplit) -> None:
    for name, part in (
        ("training", split.train),
        ("validation", split.validation),
        ("test", split.test),
    ):
        if not len(part) and split.in_test_file and name == "training":
            raise WholewordError(
                f"{task.path}: {split.in_test_file:,} of its {task.first_test:,} texts stand in "
                "the test file too, so that none is left to train on; give another --test, or none"
            )
        if not len(part):
            raise WholewordError(
                f"{task.path}: its {len(task):,} texts leave the {name} part empty; give more texts"
                + (", or a test file with --test" if name == "test" else "")
            )
    if task.kind == "tagging":  # rare tags are many, and a test word with one is a miss, no more
        return
    known = {task.labels[index][0] for index in split.train}
    held_out = [*split.validation, *split.test]
    absent = sorted({task.labels[index][0] for index in held_out} - known)
    if absent:
        names = ", ".join(repr(task.label_names[label]) for label in absent[:5])
        raise WholewordError(
            f"{task.path}: no text of the training part has the label {names}, which texts held "
            "out have; give more texts of it, or merge or remove it"
        )
    if len(known) < 2:
        raise WholewordError(f"{task.path}: the training part has one label alone; give more texts")


def leave_out(task: Task, split: TaskSplit, seen: set[int]) -> TaskSplit:
    """The split without some test examples, which a model was trained on.

    Raises:
        WholewordError: no test text is left.
    """
    kept = np.array([index for index in split.test.tolist() if index not in seen], np.int64)
    if not len(kept):
        raise WholewordError(
            f"{task.path}: every test text stands in the shards of --seen-in; give a test file "
            "(--test) that no model was trained on"
        )
    return replace(split, test=kept, seen=len(split.test) - len(kept))


def resolve_labels(task: Task, split: TaskSplit, wanted: tuple[str, ...]) -> tuple[int, ...]:
    """Numbers of labels, ascending and distinct, from numbers and "all".

    Raises:
        WholewordError: not a number, fewer than the task's classes, or more than there are.
    """
    have = len(split.train)
    classes = len({task.labels[index][0] for index in split.train}) if task.kind != "tagging" else 1
    counts = set()
    for text in wanted:
        if text != "all" and not (text.isascii() and text.isdigit() and len(text) < 12):
            raise WholewordError(f"--labels {text}: not a number; write such as 100,1000,all")
        count = have if text == "all" else int(text)
        if count > have:
            raise WholewordError(
                f"--labels {text}: the training part of {task.path} has {have:,} labelled texts; "
                "ask for fewer, or write all"
            )
        if count < max(classes, 1):
            raise WholewordError(
                f"--labels {text}: {task.path} has {classes} labels, of each of which one text at "
                f"least is needed; ask for {max(classes, 1)} or more"
            )
        counts.add(count)
    if not counts:
        raise WholewordError("--labels: names no number; write such as 100,1000,all")
    return tuple(sorted(counts))


def subset(task: Task, split: TaskSplit, count: int, seed: int) -> np.ndarray:
    """The first `count` examples of the training part in the seed's order: int64 `[count]`.

    Subsets of one seed are nested. The order begins with one example of each class and then keeps
    the classes' shares: the j-th of k examples of a class stands at j / k.
    """
    rng = np.random.default_rng([seed, 0x5B5E7])
    shuffled = rng.permutation(split.train)
    classes = np.array(task.classes)[shuffled]
    place = np.empty(len(shuffled))
    for label in np.unique(classes):
        members = classes == label
        place[members] = np.arange(members.sum()) / members.sum()
    return shuffled[np.argsort(place, kind="stable")][:count]
