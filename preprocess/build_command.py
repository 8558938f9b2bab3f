"""What `build-shards` does with its options, and what it says."""

import json
import time
from contextlib import nullcontext
from pathlib import Path

from rich.markup import escape

from preprocess import kernels
from preprocess.build_progress import show_build
from preprocess.bundled import as_called
from preprocess.console import console
from preprocess.describe import summary, summary_table
from preprocess.encode.segmenters import words_are
from preprocess.errors import WholewordError
from preprocess.options import BuildOptions
from preprocess.read.input_report import input_lines, uncuttable
from preprocess.run import state
from preprocess.run.events import SliceDone
from preprocess.run.plan import BuildPlan, identity, plan_build
from preprocess.run.slices import slices_of
from preprocess.write.manifest import Manifest, read_manifest

_AUDITED = {"documents_audited": ", all equal to the reference encoder's"}
"""A document that differs ends the build."""
LARGE = 8 << 20
"""Bytes of an input file that several workers would share, if it could be cut."""


def build(options: BuildOptions, overwrite: bool, as_json: bool) -> None:
    """Plan and run a build, and say what it made."""
    if overwrite and options.append:
        raise WholewordError("--append: adds to what --overwrite would remove; give one of the two")
    if overwrite and not options.slice.is_whole:
        raise WholewordError(
            f"--overwrite: would remove what other slices have done; remove {options.output} "
            "first, and give --slice alone"
        )
    with console.status("looking at the input") if not as_json else nullcontext():
        plan = plan_build(options)
    if overwrite:
        state.remove_build(plan.output)
    if state.is_finished(plan.output, identity(plan)):
        manifest = read_manifest(plan.output)
        report(manifest, plan.output, "already built with the same options", as_json)
        return
    if not as_json:
        _announce(plan)
    begin = time.perf_counter()
    done, audit_counts, compiling = show_build(plan, quiet=as_json)
    seconds = time.perf_counter() - begin
    if isinstance(done, SliceDone):
        _report_slice(plan, done, seconds, as_json)
        return
    rate = plan.bytes / 1e6 / seconds
    pace = f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"
    once = f"; the first {compiling:.0f} s compiled kernels, once" if compiling else ""
    report(done, plan.output, f"built in {seconds:.1f} s, {pace} MB/s{once}", as_json)
    if not as_json:
        for what, count in audit_counts.items():
            console.print(f"{what.replace('_', ' ')}: {count:,}{_AUDITED.get(what, '')}")
        console.print(
            as_called(
                f"next: [bold]deepspeed train/pretrain.py --data {plan.output} "
                f"{_model_argument(plan.options.tokenizer)}--deepspeed ds_configs/zero2.json[/]"
            )
        )


def _announce(plan: BuildPlan) -> None:
    segmenter = words_are(plan.segmenter.function or plan.segmenter.kind)
    chosen = f" ({plan.segmenter_reason})" if plan.segmenter_reason else ""
    workers = min(plan.options.workers or len(plan.tasks), len(plan.tasks))
    for line in input_lines(plan.files, plan.left_out, plan.known):
        console.print(line, markup=False)
    console.print(
        f"tasks: {len(plan.tasks)}; "
        f"workers: {workers}; words: [bold]{segmenter}[/]{chosen}; encoder: [bold]{plan.encoder}[/]"
    )
    if not kernels.count_compiled():
        console.print("the first build compiles its kernels, once; it counts them as it goes")
    if plan.encoder_reason:
        console.print(
            f"[yellow]the library encodes, not the compiled encoder: {plan.encoder_reason}[/]"
        )


def report(manifest: Manifest, folder: Path, title: str, as_json: bool) -> None:
    """Show a dataset: a table and its warnings, or JSON."""
    if as_json:
        print(json.dumps(summary(manifest, folder), ensure_ascii=False))
        return
    console.print(summary_table(manifest, f"{folder}  {title}"))
    for warning in manifest.warnings:
        console.print(f"[yellow]{escape(warning.sign)}:[/] {escape(warning.text)}")
    tasks = max(len(part.shards) for part in manifest.parts.values())
    only = manifest.inputs[0]
    if len(manifest.inputs) == tasks == 1 and only.bytes > LARGE and (why := uncuttable(only.path)):
        console.print(
            f"{only.path} is {why}, which only one worker can read; "
            "cut it into several to use them all"
        )


def _report_slice(plan: BuildPlan, done: SliceDone, seconds: float, as_json: bool) -> None:
    """Say that this slice is done, and what becomes of the rest."""
    part = plan.options.slice
    if as_json:
        tasks_done = done.tasks - len(done.missing)
        value = {"output": str(plan.output), "slice": str(part)}
        print(json.dumps(value | {"tasks": done.tasks, "tasks_done": tasks_done}))
        return
    console.print(
        f"slice {part}: done in {seconds:.1f} s; of {done.tasks:,} tasks {len(done.missing):,} are "
        f"left to {slices_of(list(done.missing), part)}, and the last slice to end finishes "
        f"{plan.output}"
    )
    console.print(f"progress of all: [bold]python -m preprocess describe {plan.output}[/]")


def _model_argument(name: str) -> str:
    """`--model NAME`, where a tokenizer is a model's, which may be continued."""
    is_model = not Path(name).exists() or (Path(name) / "config.json").exists()
    return f"--model {name} " if is_model else ""
