"""How far a build is, of all its slices together: seen from the folder alone."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from preprocess.console import console
from preprocess.options import WHOLE, Slice
from preprocess.places import is_remote
from preprocess.run.dedup import FOLDER
from preprocess.run.slices import begun_slice
from preprocess.run.state import STATE, finished_tasks, read_plan
from preprocess.write.manifest import FILE, read_manifest


@dataclass(frozen=True)
class SliceProgress:
    """What one slice has done."""

    slice: str
    begun: bool
    tasks: int
    tasks_done: int
    hashed: int | None
    """Tasks whose text is hashed, where copies are looked for."""
    seconds_ago: float | None
    """Since it last finished something."""


@dataclass(frozen=True)
class Progress:
    """What is done of a dataset that is not finished."""

    bytes: int
    """Of the input."""
    bytes_done: int
    """Of finished tasks."""
    tasks: int
    tasks_done: int
    slices: tuple[SliceProgress, ...]


def read_progress(output: Path) -> Progress | None:
    """How far the build in a folder is; None where none is at work, or it is finished.

    Raises:
        WholewordError: its plan cannot be read.
    """
    if not (output / STATE / "plan.json").exists():
        return None
    plan = read_plan(output)
    additions = plan.get("appended", [])
    first = 0
    if (output / FILE).exists():
        manifest = read_manifest(output)
        if max(len(manifest.generations), 1) > len(additions):
            return None
        first = max(len(part.shards) for part in manifest.parts.values())
    sizes = dict(enumerate((additions[-1] if additions else plan)["split sizes"], first))
    done = [number for number in finished_tasks(output) if number in sizes]
    return Progress(
        bytes=sum(sizes.values()),
        bytes_done=sum(sizes[number] for number in done),
        tasks=len(sizes),
        tasks_done=len(done),
        slices=tuple(_slices(output, plan["options"], set(sizes), set(done))),
    )


def _slices(
    output: Path, options: dict[str, object], tasks: set[int], done: set[int]
) -> list[SliceProgress]:
    """What each slice has done; of a build that is not cut, one line."""
    folder = output / STATE
    begun = {begun_slice(mark) for mark in folder.glob("slice-*-of-*")}
    count = max((part.count for part in begun), default=1)
    searches = "dedup" in options or "near_dedup" in options
    hashed = {n for n in tasks if (folder / FOLDER / f"task-{n:05d}.json").exists()}
    found = []
    for part in [Slice(index, count) for index in range(count)] if count > 1 else [WHOLE]:
        own = {number for number in tasks if part.owns(number)}
        names = [f"task-{n:05d}.json" for n in own & done]
        names += [f"{FOLDER}/task-{n:05d}.json" for n in own & hashed]
        latest = None  # an object's mark is no time
        if not is_remote(folder):
            latest = max(((folder / name).stat().st_mtime for name in names), default=None)
        found.append(
            SliceProgress(
                slice=str(part),
                begun=count == 1 or part in begun,
                tasks=len(own),
                tasks_done=len(own & done),
                hashed=len(own & hashed) if searches else None,
                seconds_ago=round(max(0.0, time.time() - latest), 1) if latest else None,
            )
        )
    return found


def show_progress(progress: Progress, output: Path, as_json: bool) -> None:
    """Print it, a line for each slice."""
    if as_json:
        print(json.dumps({"output": str(output), "unfinished": asdict(progress)}))
        return
    share = progress.bytes_done / max(progress.bytes, 1)
    table = Table(
        title=f"{output}  not finished: {progress.tasks_done:,} of {progress.tasks:,} tasks, "
        f"{share:.0%} of {progress.bytes / 1e6:,.1f} MB",
        title_justify="left",
    )
    table.add_column("slice")
    searches = progress.slices[0].hashed is not None
    for column in (*(["tasks hashed"] if searches else []), "tasks built", "last finished one"):
        table.add_column(column, justify="right", style="cyan")
    for part in progress.slices:
        hashed = [f"{part.hashed:,} of {part.tasks:,}"] if searches else []
        ago = "-" if part.seconds_ago is None else f"{part.seconds_ago:,.0f} s ago"
        table.add_row(
            part.slice if part.begun else f"{part.slice} [yellow]not begun[/]",
            *hashed,
            f"{part.tasks_done:,} of {part.tasks:,}",
            ago,
        )
    console.print(table)
    if progress.tasks_done == progress.tasks:
        console.print("every task is done: run any of its commands again, and it finishes")
    elif progress.tasks_done and len(progress.slices) > 1:
        left = [p for p in progress.slices if p.tasks_done < p.tasks]
        console.print(f"left to {', '.join(p.slice for p in left)}")
