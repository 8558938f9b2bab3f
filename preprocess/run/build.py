"""`build-shards`: run the tasks of a plan, then finish.

What is finished is never lost: a task's shards get their names when they are whole, its report
(`.build/task-N.json`) is written last, and the manifest is written when every task has one. The
same command therefore continues a build that was killed, from the first task without a report.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import xxhash

from preprocess.errors import WholewordError
from preprocess.read.sources import Task
from preprocess.run import state
from preprocess.run.append import TAIL, Base
from preprocess.run.dedup import FOLDER, find_repetitions, forget_decisions, forget_tasks
from preprocess.run.engines import run_tasks
from preprocess.run.events import Pass, TaskProgress
from preprocess.run.finalize import finalize_dataset, make_tail
from preprocess.run.plan import BuildPlan, identity, worker_spec
from preprocess.run.state import TaskReport
from preprocess.run.tasks import TaskRun
from preprocess.write.manifest import Manifest, write_manifest
from preprocess.write.shards import shard_name


def run_build(plan: BuildPlan) -> Iterator[Pass | TaskProgress | Manifest]:
    """Run the tasks that have no report yet, then finish; yields progress, then the manifest.

    Raises:
        WholewordError: another build is writing here, the input cannot be read, the output cannot
            be written, or no text was found.
    """
    with state.locked(plan.output), state.writing(plan.output):
        _prepare(plan)
        spec = worker_spec(plan)
        workers = plan.options.workers
        reports = {task.number: report for task in plan.tasks if (report := _load(plan, task))}
        todo = [task for task in plan.tasks if task.number not in reports]
        if spec.dedup.wanted and todo:
            search = (plan.output, spec.dedup, spec.reading, plan.tasks, plan.earlier, workers)
            yield from find_repetitions(*search)
            yield Pass("building", plan.bytes)
        done = sum(task.bytes for task in plan.tasks if task.number in reports)
        yield TaskProgress(done, 0, earlier=True)
        # Libraries encode a whole document before they release the interpreter lock.
        holds_lock = plan.encoder != "compiled"
        for event in run_tasks(partial(TaskRun, spec), todo, workers, holds_lock):
            if isinstance(event, TaskReport):
                reports[event.number] = event
            else:
                yield event
        yield _finish(plan, [reports[task.number] for task in plan.tasks])


def _prepare(plan: BuildPlan) -> None:
    wanted = identity(plan)
    if plan.base and not state.is_planned(plan.output, wanted):
        _remove_other_addition(plan, plan.base)
    state.write_plan(plan.output, wanted)  # first: it says whose folder this is
    for part in plan.parts:
        (plan.output / part).mkdir(exist_ok=True)
        for leftover in (plan.output / part).glob(".*.tmp"):
            leftover.unlink()


def _remove_other_addition(plan: BuildPlan, base: Base) -> None:
    """Remove what an addition that never finished a task may have left."""
    forget_tasks(plan.output, plan.earlier)
    for name, part in base.manifest.parts.items():
        ours = {plan.output / shard.file for shard in part.shards}
        for path in (plan.output / name).glob("data-*.arrow"):
            if path not in ours:
                path.unlink()


def _load(plan: BuildPlan, task: Task) -> TaskReport | None:
    """The report of a task that an earlier run finished, if its shards are still what it says."""
    report = TaskReport.load(plan.output, task.number)
    if report is None or set(report.parts) != set(plan.parts):
        return None
    for name, part in report.parts.items():
        path = plan.output / name / shard_name(task.number, plan.total)
        if not path.is_file() or path.stat().st_size != part.bytes:
            return None
        with pa.memory_map(str(path)) as shard:
            if xxhash.xxh3_128_hexdigest(shard.read_buffer()) != part.xxh3_128:
                return None
        index = report.load_index(plan.output, name)
        if index is None or sum(index["rows"].to_pylist()) != part.rows:
            return None
    return report


def _finish(plan: BuildPlan, reports: list[TaskReport]) -> Manifest:
    if not plan.base and not sum(report.parts["train"].rows for report in reports):
        for part in plan.parts:
            shutil.rmtree(plan.output / part)
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
    write_manifest(plan.output, manifest)
    forget_decisions(plan.output)
    state.clear(plan.output, keep=("lock", "plan.json", FOLDER, TAIL.format(generations)))
    return manifest
