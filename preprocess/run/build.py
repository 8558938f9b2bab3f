"""`build-shards`: run the tasks of a plan, then finish.

What is finished is never lost: a task's shards get their names when they are whole, its report
(`.build/task-N.json`) is written last, and the manifest is written when every task has one. The
same command therefore continues a build that was killed, from the first task without a report. Of
several slices (`slices.py`), the one that finds every report writes the manifest.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import xxhash

from preprocess.errors import WholewordError
from preprocess.files import map_file, remove
from preprocess.options import BuildOptions
from preprocess.places import is_remote, look_at, map_concurrently
from preprocess.read.sources import Task
from preprocess.run import state
from preprocess.run.append import TAIL, Base
from preprocess.run.dedup import FOLDER, find_repetitions, forget_decisions, forget_tasks
from preprocess.run.engines import RunTasks, run_tasks
from preprocess.run.events import Pass, SliceDone, TaskProgress
from preprocess.run.finalize import finalize_dataset, make_tail
from preprocess.run.plan import BuildPlan, identity, worker_spec
from preprocess.run.ray_engine import open_cluster
from preprocess.run.slices import Share, announce, claim_plan
from preprocess.run.state import PartReport, TaskReport
from preprocess.run.tasks import TaskRun
from preprocess.write.manifest import Manifest, read_manifest, write_manifest
from preprocess.write.shards import shard_name


def run_build(plan: BuildPlan) -> Iterator[Pass | TaskProgress | Manifest | SliceDone]:
    """Run the tasks that have no report yet, then finish.

    Yields:
        Progress, then the manifest; of a slice that is not the last to end, `SliceDone`.

    Raises:
        WholewordError: another build is writing here, the input cannot be read, the output cannot
            be written, no text was found, or other slices have other options or do nothing.
    """
    part = plan.options.slice
    with (
        state.writing(plan.output),
        state.locked(plan.output, shared=not part.is_whole) as check_lock,
    ):
        try:
            with state.writing(plan.output), _open_engine(plan.options) as run:
                _prepare(plan)
                for event in _run(plan, run):
                    check_lock()
                    yield event
        except WholewordError:
            # Another slice finished the dataset meanwhile, and removed what this one was reading.
            if part.is_whole or not state.is_finished(plan.output, identity(plan)):
                raise
            yield read_manifest(plan.output)


def _open_engine(options: BuildOptions) -> AbstractContextManager[RunTasks]:
    """Where tasks run, until the context ends."""
    if options.engine == "ray":
        return open_cluster(options.ray_address, Path(options.output), options.workers)
    return nullcontext(partial(run_tasks, workers=options.workers or 1))


def _run(plan: BuildPlan, run: RunTasks) -> Iterator[Pass | TaskProgress | Manifest | SliceDone]:
    spec, part = worker_spec(plan), plan.options.slice
    own = [task for task in plan.tasks if part.owns(task.number)]
    size = sum(task.bytes for task in own)
    reports = _load_all(plan, own)
    if not part.is_whole and state.is_finished(plan.output, identity(plan)):
        yield read_manifest(plan.output)  # since this command began
        return
    todo = [task for task in own if task.number not in reports]
    if spec.dedup.wanted and todo:
        share = Share(part, plan.options.slice_wait)
        search = (plan.output, spec.dedup, spec.reading, plan.tasks, plan.earlier, run, share)
        yield from find_repetitions(*search)
        yield Pass("building", size)
    yield TaskProgress(size - sum(task.bytes for task in todo), 0, earlier=True)
    # Libraries encode a whole document before they release the interpreter lock.
    holds_lock = plan.encoder != "compiled"
    for event in run(partial(TaskRun, spec), todo, holds_lock=holds_lock):
        if isinstance(event, TaskReport):
            reports[event.number] = event
        else:
            yield event
    reports |= _load_all(plan, [t for t in plan.tasks if not part.owns(t.number)], hashed=False)
    if missing := tuple(task.number for task in plan.tasks if task.number not in reports):
        yield SliceDone(len(plan.tasks), missing)
    else:
        yield _finish(plan, [reports[task.number] for task in plan.tasks])


def _prepare(plan: BuildPlan) -> None:
    wanted, part = identity(plan), plan.options.slice
    if part.is_whole:
        if plan.base and not state.is_planned(plan.output, wanted):
            _remove_other_addition(plan, plan.base)
        state.write_plan(plan.output, wanted)  # first: it says whose folder this is
    else:
        claim_plan(plan.output, wanted, plan.base.plan if plan.base else None)
        announce(plan.output, part)
    for name in plan.parts:
        (plan.output / name).mkdir(exist_ok=True)
    state.remove_leftovers(plan.output, part)


def _remove_other_addition(plan: BuildPlan, base: Base) -> None:
    """Remove what an addition that never finished a task may have left."""
    forget_tasks(plan.output, plan.earlier)
    for claim in (plan.output / state.STATE).glob("slices-*.json"):
        claim.unlink()
    for name, part in base.manifest.parts.items():
        ours = {plan.output / shard.file for shard in part.shards}
        for path in (plan.output / name).glob("data-*.arrow"):
            if path not in ours:
                path.unlink()


def _load_all(plan: BuildPlan, tasks: list[Task], hashed: bool = True) -> dict[int, TaskReport]:
    """The reports of those tasks that are finished, as `_load` finds them, by number."""
    load = partial(_load, plan, hashed=hashed)
    each = map_concurrently if is_remote(plan.output) else map
    return {report.number: report for report in each(load, tasks) if report}


def _load(plan: BuildPlan, task: Task, hashed: bool = True) -> TaskReport | None:
    """The report of a task that an earlier run finished, if its shards are still what it says.

    Args:
        plan: the build.
        task: of it.
        hashed: whether to read its shards; another slice that wrote them just now put them on disk.
    """
    report = TaskReport.load(plan.output, task.number)
    if report is None or set(report.parts) != set(plan.parts):
        return None
    for name, part in report.parts.items():
        if not _is_whole(plan.output / name / shard_name(task.number, plan.total), part, hashed):
            return None
        index = report.load_index(plan.output, name)
        if index is None or sum(index["rows"].to_pylist()) != part.rows:
            return None
    return report


def _is_whole(path: Path, part: PartReport, hashed: bool) -> bool:
    """Whether a shard is what its report says; of an object, which is put whole, its size tells."""
    try:
        if look_at(str(path)).bytes != part.bytes:
            return False
    except FileNotFoundError:
        return False
    if not hashed or is_remote(path):
        return True
    return xxhash.xxh3_128_hexdigest(map_file(path)) == part.xxh3_128


def _finish(plan: BuildPlan, reports: list[TaskReport]) -> Manifest:
    """Write all but the shards; two slices that find every report at once may both do it."""
    if not plan.base and not sum(report.parts["train"].rows for report in reports):
        for part in plan.parts:
            remove(plan.output / part)
        state.clear(plan.output, keep=("lock",))
        counts: Counter[str] = sum((Counter(report.counts) for report in reports), Counter())
        found = ", ".join(
            f"{reason.replace('_', ' ')}: {n:,}" for reason, n in sorted(counts.items())
        )
        raise WholewordError(
            f"{', '.join(plan.options.inputs)}: no document with text was left for training "
            f"({found or 'the input holds none'}); check --text-field, --encoding, "
            "--document-separator and --validation-fraction"
        )
    manifest = finalize_dataset(plan, reports)
    tail = make_tail(plan, reports)
    generations = len(manifest.generations)
    tail.save(plan.output, generations)
    state.remove_leftovers(plan.output)  # of slices that were killed
    write_manifest(plan.output, manifest)
    forget_decisions(plan.output)
    state.clear(plan.output, keep=("lock", "plan.json", FOLDER, TAIL.format(generations)))
    return manifest
