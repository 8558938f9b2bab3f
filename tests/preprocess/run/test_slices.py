"""Slices: several commands, at once or one after the other, build what one builds."""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from preprocess.errors import WholewordError
from preprocess.options import Slice, parse_slice
from preprocess.run import build as building
from preprocess.run import slices, state
from preprocess.run.build import run_build
from preprocess.run.events import Pass, SliceDone
from preprocess.run.plan import identity, plan_build
from preprocess.write.manifest import Manifest
from tests.preprocess import support
from tests.preprocess.support import invoke

Built = tuple[Path, Manifest]
DEDUP = {"dedup": "documents"}


def run_slice(output: Path, number: int, count: int, *inputs: Path, **changes: Any) -> Any:
    """Run a slice in this process; its last event."""
    part = Slice(number, count)
    *_, last = run_build(plan_build(support.options(output, *inputs, slice=part, **changes)))
    return last


def run_all(output: Path, count: int, *inputs: Path, **changes: Any) -> list[Any]:
    """Run all slices at once; their last events."""
    ends: list[Any] = [None] * count

    def run(number: int) -> None:
        try:
            ends[number] = run_slice(output, number, count, *inputs, **changes)
        except WholewordError as error:
            ends[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def test_slices_one_after_the_other_build_what_one_command_builds(
    built: Built, tmp_path: Path, corpus: Path
) -> None:
    output = tmp_path / "out"
    first = run_slice(output, 1, 3, corpus)
    assert isinstance(first, SliceDone)
    assert state.finished_tasks(output) == [n for n in range(first.tasks) if n % 3 == 1]
    assert set(first.missing) == {n for n in range(first.tasks) if n % 3 != 1}
    assert run_slice(output, 1, 3, corpus) == first  # repeated, it has nothing to do
    assert isinstance(run_slice(output, 0, 3, corpus), SliceDone)
    assert isinstance(run_slice(output, 2, 3, corpus), Manifest)
    assert support.digests(output) == support.digests(built[0])
    assert isinstance(run_slice(output, 0, 3, corpus), Manifest)  # it began before that, perhaps


def test_a_plain_build_goes_on_where_slices_ended(
    built: Built, tmp_path: Path, corpus: Path
) -> None:
    run_slice(tmp_path / "out", 0, 2, corpus)
    support.build(tmp_path / "out", corpus)
    assert support.digests(tmp_path / "out") == support.digests(built[0])


def repeating(folder: Path) -> Path:
    """Text whose lines repeat others of other tasks."""
    lines = support.zh_text(30_000).splitlines()
    path = folder / "in.txt"
    path.write_text("".join(f"{line}\n" for line in [*lines, *lines[::3], *lines[::2]]))
    return path


def test_the_first_copy_stays_whichever_slice_reads_it(tmp_path: Path) -> None:
    source = repeating(tmp_path)
    changes = {**DEDUP, "near_dedup": 0.8}
    one = support.build(tmp_path / "one", source, **changes)
    assert one.counts["documents_duplicate"] > 20
    ends = run_all(tmp_path / "out", 3, source, **changes)
    assert sum(isinstance(end, Manifest) for end in ends) >= 1, ends
    assert support.digests(tmp_path / "out") == support.digests(tmp_path / "one")
    more = tmp_path / "more.txt"
    more.write_text(support.zh_text(40_000))
    for output in ("one", "out"):  # what is added is compared with all that any slice read
        count = 1 if output == "one" else 2
        ends = run_all(tmp_path / output, count, more, append=True, **changes)
        assert any(isinstance(end, Manifest) for end in ends), ends
    assert support.digests(tmp_path / "out") == support.digests(tmp_path / "one")


def test_a_slice_that_waits_in_vain_says_for_whom(tmp_path: Path) -> None:
    source = repeating(tmp_path)
    with pytest.raises(
        WholewordError, match=r"--slice 1/3: needs what slices 0/3, 2/3 find.*: hashing; run them"
    ):
        run_slice(tmp_path / "out", 1, 3, source, **DEDUP, slice_wait=0)
    plan = plan_build(support.options(tmp_path / "out", source, slice=Slice(1, 3), **DEDUP))
    events = run_build(plan)
    waits = (event for event in events if isinstance(event, Pass) and "waiting" in event.name)
    assert next(waits).name == "waiting for slices 0/3, 2/3: hashing"
    events.close()


def test_others_options_and_inputs_are_refused(tmp_path: Path, corpus: Path) -> None:
    output = tmp_path / "out"
    running = run_build(plan_build(support.options(output, corpus, slice=Slice(0, 2))))
    next(running)  # nothing is done yet
    with pytest.raises(WholewordError, match=r"--max-length 64 \(now 32\)\); give every slice"):
        run_slice(output, 1, 2, corpus, max_length=32)
    with pytest.raises(WholewordError, match=r"slices of another build .*with .*zh\.txt"):
        run_slice(output, 1, 2, corpus / "en.jsonl")
    with pytest.raises(WholewordError, match="another build is writing here"):
        support.build(output, corpus)
    running.close()
    assert not list((output / ".build").glob(".*.tmp"))


def test_slices_that_start_at_once_agree_on_one_plan(tmp_path: Path, corpus: Path) -> None:
    """Whoever creates the file first decides, though the others saw none."""
    plans = [
        identity(plan_build(support.options(tmp_path, corpus, max_length=n))) for n in (32, 64)
    ]
    (tmp_path / ".build").mkdir()
    slices.claim_plan(tmp_path, plans[0], None)
    (tmp_path / ".build" / "plan.json").unlink()  # not written yet
    with pytest.raises(WholewordError, match="--max-length 32"):
        slices.claim_plan(tmp_path, plans[1], None)
    slices.claim_plan(tmp_path, plans[0], None)


def test_two_that_find_every_report_both_end_well(
    built: Built, tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second to finish meets the folder as the first one left it, in the midst of its work."""
    output = tmp_path / "out"
    run_slice(output, 0, 2, corpus)
    make = building.finalize_dataset
    other: list[Any] = []

    def interrupted(*arguments: Any) -> Any:
        if not other:
            other.append(None)
            other[0] = run_slice(output, 0, 2, corpus)
        return make(*arguments)

    monkeypatch.setattr(building, "finalize_dataset", interrupted)
    last = run_slice(output, 1, 2, corpus)
    assert isinstance(other[0], Manifest) and last == other[0]
    assert support.digests(output) == support.digests(built[0])


def test_only_a_slices_own_leftovers_are_removed_before_the_end(
    built: Built, tmp_path: Path, corpus: Path
) -> None:
    output = tmp_path / "out"
    run_slice(output, 0, 2, corpus)
    names = [f"train/.data-0000{n}-of-00009.arrow.0a1b2c3{n}.tmp" for n in (0, 1)]
    names += [f".build/.task-0000{n}.json.0a1b2c3{n}.tmp" for n in (0, 1)]
    for name in (*names, ".manifest.json.12345678.tmp"):
        (output / name).write_bytes(b"half")
    run_slice(output, 0, 2, corpus)
    left = [path.name for path in output.rglob(".*.tmp")]
    assert sorted(left) == sorted(
        [Path(names[1]).name, Path(names[3]).name, ".manifest.json.12345678.tmp"]
    )
    run_slice(output, 1, 2, corpus)
    assert support.digests(output) == support.digests(built[0])
    assert not list(output.rglob(".*.tmp"))


def test_a_slice_that_reads_what_is_finished_meanwhile_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is run twice; the other one finishes, and removes what was decided about copies."""
    source, output = repeating(tmp_path), tmp_path / "out"
    support.build(tmp_path / "one", source, **DEDUP)
    running = threading.Thread(target=run_slice, args=(output, 0, 2, source), kwargs=DEDUP)
    running.start()
    slow: Iterator[Any] = run_build(
        plan_build(support.options(output, source, slice=Slice(1, 2), **DEDUP))
    )
    for event in slow:
        if isinstance(event, Pass) and event.name == "building":
            break
    running.join()
    assert isinstance(run_slice(output, 1, 2, source, **DEDUP), Manifest)
    *_, last = slow
    assert isinstance(last, Manifest)
    assert support.digests(output) == support.digests(tmp_path / "one")


def test_the_progress_of_all_slices_is_shown(tmp_path: Path, corpus: Path) -> None:
    output = tmp_path / "out"
    done = run_slice(output, 1, 2, corpus)
    shown = invoke("describe", output)
    assert shown.status == 0
    half, all_of_them = done.tasks // 2, done.tasks
    assert f"not finished: {half} of {all_of_them} tasks" in shown.output
    assert "0/2 not begun" in " ".join(shown.output.split())
    told = invoke("describe", output, "--json")
    assert '"unfinished": {"bytes":' in told.output and '"begun": false' in told.output
    shutil.rmtree(output)
    assert "missing" in invoke("describe", output).errors


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("4/4", "--slice 4/4: out of range; of 4 slices the first is 0/4 and the last 3/4"),
        ("0/0", "--slice 0/0: out of range"),
        ("1", "--slice 1: give I/N"),
        ("-1/2", "--slice -1/2: give I/N"),
        ("1/2/3", "--slice 1/2/3: give I/N"),
        ("x/2", "--slice x/2: give I/N"),
    ],
)
def test_what_is_no_slice_is_refused(text: str, said: str) -> None:
    with pytest.raises(WholewordError) as error:
        parse_slice(text)
    assert str(error.value).startswith(said)


def test_the_command_says_what_is_left_and_refuses_what_would_harm(
    tmp_path: Path, corpus: Path
) -> None:
    given = ["build-shards", "-i", str(corpus), "-o", str(tmp_path / "out"), "--split-size", "9000"]
    given += ["--tokenizer", support.TOKENIZER, "--audit", "0", "--workers", "1"]
    invoke(*given, "--slice", "3/3").assert_one_line("--slice 3/3: out of range")
    invoke(*given, "--slice", "0/2", "--overwrite").assert_one_line("--overwrite: would remove")
    invoke(*given, "--slice", "0/2", "--engine", "ray").assert_one_line("give no --slice with it")
    begin = time.monotonic()
    done = invoke(*given, "--slice", "0/2")
    assert done.status == 0 and time.monotonic() - begin < 60
    assert "left to slice 1/2" in done.output and "describe" in done.output
    assert '"slice": "0/2", "tasks": ' in invoke(*given, "--slice", "0/2", "--json").output
