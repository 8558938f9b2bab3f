"""The progress bar of a build."""

import time
from collections import Counter

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from preprocess import kernels
from preprocess.console import console
from preprocess.run.build import run_build
from preprocess.run.events import Pass, SliceDone, TaskProgress
from preprocess.run.plan import BuildPlan
from preprocess.write.manifest import Manifest

BUILDING = "building"


class _Pace:
    """What has been done since the first report, and what that promises.

    Workers start, load and compile before they report for the first time: that says nothing about
    what is left.
    """

    def __init__(self, total: int) -> None:
        self.total, self.done, self.tokens = total, 0, 0
        self._began: tuple[float, int, int] | None = None

    def add(self, event: TaskProgress) -> None:
        """Count what was done; what an earlier command did comes first."""
        self.done += event.bytes
        self.tokens += event.tokens
        if self._began is None and not event.earlier:
            self._began = time.perf_counter(), self.done, self.tokens

    def __str__(self) -> str:
        """Rates and the time left, once they are known."""
        if self._began is None or self.done == self._began[1]:
            return ""
        begin, done, tokens = self._began
        seconds = time.perf_counter() - begin
        rate = (self.done - done) / seconds
        left = round((self.total - self.done) / rate)
        mtokens = (self.tokens - tokens) / seconds / 1e6
        minutes, seconds_left = divmod(max(left, 0), 60)
        return (
            f"{rate / 1e6:.1f} MB/s  {mtokens:.2f} Mtokens/s  "
            f"{minutes // 60}:{minutes % 60:02d}:{seconds_left:02d} left"
        )


class _Kernels(ProgressColumn):
    """How many kernels this build has compiled, until text is read."""

    max_refresh = 0.5

    def __init__(self) -> None:
        super().__init__()
        self._before = kernels.count_compiled()

    def render(self, task: Task) -> Text:
        """The number, once there are any."""
        new = 0 if task.completed else kernels.count_compiled() - self._before
        return Text(f"compiling kernels: {new}" if new > 0 else "")


def show_build(plan: BuildPlan, quiet: bool) -> tuple[Manifest | SliceDone, Counter[str], float]:
    """Build.

    Returns:
        The manifest (or the end of a slice before others), the audit's counts, and the seconds
        from the beginning to the last kernel that had to be compiled before text was encoded.
    """
    audit: Counter[str] = Counter()
    begin, compiling, has_begun = time.time(), 0.0, False
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[pace]}"),
        _Kernels(),
        console=console,
        disable=quiet,
    )
    with bar:
        shown = bar.add_task(BUILDING, total=plan.bytes, pace="")
        pace = _Pace(plan.bytes)
        for event in run_build(plan):
            if isinstance(event, Manifest | SliceDone):
                return event, audit, compiling
            if isinstance(event, Pass):
                bar.reset(shown, total=event.bytes, description=event.name)
                pace = _Pace(event.bytes)
                continue
            if not has_begun and not event.earlier:
                has_begun, compiling = True, kernels.compiled_until(begin)
            pace.add(event)
            audit.update(event.audit)
            bar.update(shown, completed=pace.done, pace=str(pace))
    raise AssertionError("a build ends with a manifest")
