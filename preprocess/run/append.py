"""More text for a finished dataset: new tasks that go on where the last one ended.

Tasks, rows and document numbers are those of one build with all of the inputs in order and this
split size; only where one shard ends and the next begins differs.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from preprocess.addresses import AddressError
from preprocess.errors import WholewordError
from preprocess.files import write_json
from preprocess.format import Part
from preprocess.read.cutting import plan_tasks
from preprocess.read.sources import InputFile, Task
from preprocess.run.differences import all_inputs, differences
from preprocess.run.state import STATE, read_plan
from preprocess.write.manifest import Manifest, read_manifest
from preprocess.write.shards import seal, unseal

TAIL = "tail-{}.json"
"""Of a dataset of so many generations, so that it never goes with another manifest."""


class Tail(BaseModel):
    """Where a dataset ends, as `.build/tail-N.json` holds it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    split_size: int
    """Bytes of a task."""
    part: Part
    """Of the last task, like all that follows."""
    task: int
    """Its number, as it is in its documents' numbers."""
    bytes: int
    """What it read, with what was added to it before."""
    documents: int
    """The same in documents, those that were left out included."""
    copies: dict[int, int]
    """How many copies of held-out texts it has, by hash."""
    distinct: list[int]
    """The smallest hashes of all texts (`DistinctTexts`)."""

    def save(self, output: Path, generations: int) -> None:
        """Write it down."""
        path = output / STATE / TAIL.format(generations)
        write_json(path, seal(self.model_dump(mode="json")), shared=True)

    def tasks(self, files: list[InputFile], separator: str, first: int) -> list[Task]:
        """Tasks that read more files, the first of which goes on with the last one if it has room.

        Args:
            files: the new ones.
            separator: what ends a document.
            first: the number of the first task, and shard.
        """
        if not files:
            return []
        used = self.bytes if files[0].part == self.part else self.split_size
        tasks = plan_tasks(files, separator, self.split_size, used)
        opening = tasks[0].splits[0]
        goes_on = used + opening.bytes <= self.split_size
        number = self.task + (not goes_on)
        begins = [(number + place) << 32 for place in range(len(tasks))]
        if goes_on:
            begins[0] += self.documents
        return [
            replace(task, number=first + task.number, begin=begin)
            for task, begin in zip(tasks, begins, strict=True)
        ]


@dataclass(frozen=True)
class Base:
    """The finished dataset that is added to."""

    manifest: Manifest
    plan: dict[str, Any]
    """How it was built (`identity`)."""
    tail: Tail

    @property
    def shards(self) -> int:
        """How many every part has."""
        return max(len(part.shards) for part in self.manifest.parts.values())

    def new_files(self, files: list[InputFile], dedup: bool) -> tuple[list[InputFile], list[str]]:
        """Files that the dataset was not made from, and the paths of those that it was.

        Args:
            files: of which some may have been read before, as those of a folder that grows.
            dedup: whether copies are left out; then a file that has changed may be read again.

        Raises:
            WholewordError: a file has changed, and what it held would be there twice.
        """
        read = {(file["path"], file["part"]): file for file in all_inputs(self.plan)}
        new, known = [], []
        for file in files:
            before = read.get((file.path, file.part))
            if before == vars(file):
                known.append(file.path)
                continue
            if before and not dedup:
                raise WholewordError(
                    f"--append: {file.path} has changed since the dataset was made from it, and "
                    "what it held would be there twice; put the new text into a file of its own, "
                    "or build all of the text again with --overwrite"
                )
            new.append(file)
        return new, known


def open_base(output: Path) -> Base:
    """Read the dataset that a folder holds.

    Raises:
        WholewordError: it holds none, or not what is needed to add to it.
    """
    manifest = read_manifest(output)
    generations = max(len(manifest.generations), 1)
    path = output / STATE / TAIL.format(generations)
    try:
        tail = Tail.model_validate(unseal(dict(json.loads(path.read_text(encoding="utf-8")))))
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, AddressError) and not isinstance(error, FileNotFoundError):
            raise
        raise WholewordError(
            f"{path}: cannot be read, so nothing can be added to these shards; build all of the "
            "text again with --overwrite"
        ) from error
    plan = read_plan(output)
    if additions := plan.pop("appended", [])[: generations - 1]:
        plan["appended"] = additions
    return Base(manifest, plan, tail)


def appended_identity(base: Base, fresh: dict[str, Any]) -> dict[str, Any]:
    """How the dataset is built once the inputs of a plan are added.

    Args:
        base: the dataset.
        fresh: the identity of the plan, as if it were a build of its own.

    Raises:
        WholewordError: it has other options than the dataset.
    """
    changed = differences(base.plan, {**base.plan, **{key: fresh[key] for key in _SHARED}})
    if changed:
        raise WholewordError(
            f"--append: the dataset is of another build ({'; '.join(changed)}); give its options "
            "again, with the new --input"
        )
    if not fresh["inputs"]:
        return base.plan
    additions = base.plan.get("appended", [])
    addition = {"inputs": fresh["inputs"], "split sizes": fresh["split sizes"]}
    return {**base.plan, "appended": [*additions, addition]}


_SHARED = ("options", "tokenizer", "segmenter")
