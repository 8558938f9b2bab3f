"""Which documents repeat others: found before the tasks run, which then leave them out.

`.build/hashes/` holds what each task's documents hash to (`task-N.json` is the proof that it is
whole), and stays there so that text which is added later is compared too. What is decided from it
follows from the input alone, so a build that was killed decides the same again.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import xxhash

from preprocess.clean.cleaner import Kept
from preprocess.clean.duplicates import (
    HashRuns,
    find_copies,
    numbers_between,
    part_count,
    save_array,
)
from preprocess.clean.near_duplicates import Signatures, find_near_copies
from preprocess.errors import WholewordError
from preprocess.files import forget_copies, local_copy, write_json
from preprocess.read.sources import Task
from preprocess.run.engines import RunTasks
from preprocess.run.events import Pass, TaskProgress
from preprocess.run.slices import Share
from preprocess.run.state import STATE, writing
from preprocess.run.task_documents import ReadSpec, TaskDocuments
from preprocess.write.shards import seal, unseal

FOLDER = "hashes"
DUPLICATE = "documents_duplicate"
NEAR_DUPLICATE = "documents_near_duplicate"
_TASK_NUMBERS = 1 << 32
"""Numbers of the documents of one task lie in a range of this length."""


@dataclass(frozen=True)
class DedupSpec:
    """Which repetitions are left out."""

    documents: bool
    near: float | None

    @property
    def wanted(self) -> bool:
        """Whether any are."""
        return self.documents or self.near is not None


def find_repetitions(
    output: Path,
    spec: DedupSpec,
    reading: ReadSpec,
    tasks: list[Task],
    earlier: int,
    run: RunTasks,
    share: Share,
) -> Iterator[Pass | TaskProgress]:
    """Hash what the tasks will read, and decide what repeats; yields progress.

    Hashes, and the parts that are decided, are dealt out to the slices by their numbers; each slice
    waits for the others, because what it leaves out depends on all text.

    Args:
        output: the dataset's folder.
        spec: what to look for.
        reading: how input becomes documents.
        tasks: those of this build, of all slices.
        earlier: how many tasks were built before, when the dataset is added to.
        run: where tasks run.
        share: which slice this is.

    Raises:
        WholewordError: the input cannot be read, the hashes of what was built before are gone, or
            the other slices do nothing.
    """
    folder = output / STATE / FOLDER
    folder.mkdir(exist_ok=True)
    for number in range(earlier):
        if not _is_whole(folder, number):
            raise WholewordError(
                f"{folder}: lacks what shard {number} hashes to, so what repeats it cannot be "
                "found; build all of the text again with --overwrite"
            )
    own = [task for task in tasks if share.part.owns(task.number)]
    todo = [task for task in own if not _is_whole(folder, task.number)]
    size = sum(task.bytes for task in own)
    yield Pass("hashing", size)
    yield TaskProgress(size - sum(task.bytes for task in todo), 0, earlier=True)
    yield from run(partial(_HashTask, output, spec, reading), todo)
    numbers = [task.number for task in tasks]
    yield from share.wait("hashing", [_proof_path(folder, n) for n in numbers], numbers)
    total = earlier + len(tasks)
    if spec.documents:
        yield from _find_exact(output, total, run, share)
    near = [_near(folder, task.number) for task in tasks]
    if spec.near is not None and not all(path.exists() for path in near):
        if share.part.owns(0):
            yield Pass("finding near duplicates", total)
            yield from run(partial(_DecideNear, output, spec, tasks, total), [0])
        yield from share.wait("finding near duplicates", near, [0] * len(near))


def _find_exact(
    output: Path, total: int, run: RunTasks, share: Share
) -> Iterator[Pass | TaskProgress]:
    """Decide which documents are exact copies, once all tasks are hashed; yields progress."""
    folder = output / STATE / FOLDER
    runs = _runs(folder, total)
    parts = part_count(runs)
    names = {part: _part_name(part, parts, total) for part in range(parts)}
    own = [part for part in names if share.part.owns(part)]
    missing = [part for part in own if not (folder / names[part]).exists()]
    yield Pass("finding duplicates", len(own))
    yield TaskProgress(len(own) - len(missing), 0, earlier=True)
    yield from run(partial(_Decide, output, runs, names), missing)
    paths = [folder / name for name in names.values()]
    yield from share.wait("finding duplicates", paths, list(names))


def forget_decisions(output: Path) -> None:
    """Remove what was decided, once it is in the shards; the hashes stay."""
    folder = output / STATE / FOLDER
    forget_copies(folder)
    if folder.is_dir():
        for path in (*folder.glob("part-*"), *folder.glob("*-near.npy"), *folder.glob(".*.tmp")):
            path.unlink(missing_ok=True)


def forget_tasks(output: Path, first: int) -> None:
    """Remove what is known of the tasks from a number on: other tasks will have these numbers."""
    forget_decisions(output)
    folder = output / STATE / FOLDER
    for path in folder.glob("*"):
        if int(re.findall(r"\d+", path.name)[0]) >= first:
            path.unlink()


class Copies:
    """What of one task repeats others."""

    def __init__(self, output: Path, spec: DedupSpec, task: Task) -> None:
        """Read the numbers of the documents."""
        folder = output / STATE / FOLDER
        first = task.first_document
        end = (first // _TASK_NUMBERS + 1) * _TASK_NUMBERS
        self._numbers = {}
        if spec.documents:
            self._numbers[DUPLICATE] = exact_copies(folder, task.number, first, end)
        if spec.near is not None:
            near = [_near(folder, task.number)]
            self._numbers[NEAR_DUPLICATE] = numbers_between(near, first, end)

    def leave_out(self, kept: Kept) -> Kept:
        """Documents less those that repeat others."""
        for reason, numbers in self._numbers.items():
            kept = kept.without(np.isin(kept.numbers, numbers), reason)
        return kept


def exact_copies(folder: Path, task: int, first: int, end: int) -> np.ndarray:
    """Numbers of a task's documents that are exact copies of earlier ones, ascending."""
    own = sorted(folder.glob(f"{task:05d}-*-copies.npy"))
    parts = sorted(folder.glob("part-*.npy"))
    if not parts or len(parts) != int(parts[0].name.split("-")[3]):
        raise OSError(f"{folder}: lacks some of what was decided")
    return numbers_between([*parts, *own], first, end)


class _HashTask:
    """Writes the hashes (and signatures) of tasks."""

    def __init__(self, output: Path, spec: DedupSpec, reading: ReadSpec) -> None:
        self._output, self._folder, self._spec = output, output / STATE / FOLDER, spec
        self._documents = TaskDocuments(reading)

    def __call__(self, task: Task) -> Iterator[TaskProgress]:
        """Write them, then the proof; yields progress."""
        prefix = f"{task.number:05d}"
        with writing(self._output):
            writers: list[HashRuns | Signatures] = []
            if self._spec.documents:
                writers.append(HashRuns(self._folder, prefix))
            if self._spec.near is not None:
                writers.append(Signatures(self._folder, prefix))
            for kept in self._documents(task):
                for writer in writers:
                    writer.add(kept.batch.documents, kept.numbers)
                yield TaskProgress(kept.batch.bytes_read, 0)
            for writer in writers:
                writer.close()
            files = [file for writer in writers for file in writer.files]
            proof = {file.name: _checksum(file) for file in files}
            write_json(_proof_path(self._folder, task.number), seal(proof), shared=True)


class _Decide:
    """Finds the copies in parts of the hashes."""

    def __init__(self, output: Path, runs: list[Path], names: dict[int, str]) -> None:
        self._output, self._runs, self._names = output, runs, names

    def __call__(self, part: int) -> Iterator[TaskProgress]:
        """Write the numbers of the copies of a part; yields progress."""
        with writing(self._output):
            copies = find_copies(self._runs, part, len(self._names))
            save_array(self._output / STATE / FOLDER / self._names[part], copies)
        yield TaskProgress(1, 0)


class _DecideNear:
    """Finds the near copies of all tasks, one after the other."""

    def __init__(self, output: Path, spec: DedupSpec, tasks: list[Task], total: int) -> None:
        self._output, self._spec, self._total = output, spec, total
        self._folder = output / STATE / FOLDER
        self._tasks = {task.number for task in tasks}

    def __call__(self, _: int) -> Iterator[TaskProgress]:
        """Write the near copies of the tasks of this build; yields progress."""
        assert self._spec.near is not None
        files = [self._files(number) for number in range(self._total)]
        found = find_near_copies(files, self._spec.near, self._are_copies)
        with writing(self._output):
            for number, numbers in enumerate(found):
                if number in self._tasks:
                    save_array(_near(self._folder, number), numbers)
                yield TaskProgress(1, 0)

    def _files(self, number: int) -> tuple[Path, Path]:
        prefix = f"{number:05d}"
        return self._folder / f"{prefix}-signatures.npy", self._folder / f"{prefix}-numbers.npy"

    def _are_copies(self, number: int, documents: np.ndarray) -> np.ndarray:
        """Which of a task's documents are exact copies: bool `[documents]`."""
        if not self._spec.documents or not len(documents):
            return np.zeros(len(documents), np.bool_)
        first, end = int(documents[0]), int(documents[-1]) + 1
        return np.isin(documents, exact_copies(self._folder, number, first, end))


def _runs(folder: Path, total: int) -> list[Path]:
    """The runs of all tasks, in the order of the input."""
    names = (name for number in range(total) for name in sorted(_read_proof(folder, number)))
    return [folder / name for name in names if re.fullmatch(r"\d+-\d+\.npy", name)]


def _is_whole(folder: Path, number: int) -> bool:
    """Whether a task's hashes are there as they were written."""
    try:
        proof = _read_proof(folder, number)
        return all(_checksum(folder / name) == digest for name, digest in proof.items())
    except (OSError, ValueError, TypeError):
        return False


def _read_proof(folder: Path, number: int) -> dict[str, str]:
    """The files of a task's hashes, and their checksums."""
    text = _proof_path(folder, number).read_text(encoding="utf-8")
    return unseal(dict(json.loads(text)))


def _checksum(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with local_copy(path).open("rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def _proof_path(folder: Path, number: int) -> Path:
    return folder / f"task-{number:05d}.json"


def _part_name(part: int, parts: int, tasks: int) -> str:
    """Another name where there are other tasks: then the copies are others."""
    return f"part-{part:05d}-of-{parts:05d}-of-{tasks:05d}-tasks.npy"


def _near(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}-near.npy"
