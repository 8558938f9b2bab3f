"""More text for a dataset that is finished: the same as one build of all of it."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
import xxhash

from preprocess.errors import WholewordError
from preprocess.run import state
from preprocess.run.build import run_build
from preprocess.run.events import Pass
from preprocess.run.plan import identity, plan_build
from preprocess.verify import verify_dataset
from preprocess.write.manifest import Manifest, read_manifest
from tests.preprocess import support
from tests.preprocess.support import invoke

DEDUP = {"dedup": "documents"}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three inputs of some tasks, with common lines, and one line that stands often."""
    folder = tmp_path_factory.mktemp("texts")
    lines = support.zh_text(60_000).splitlines()
    often = [held_out_line()] * 30
    parts = [lines[:37], lines[30:60] + often, lines[50:90] + often + lines[:10]]
    paths = [folder / f"{name}.txt" for name in "abc"]
    for path, part in zip(paths, parts, strict=True):
        path.write_text("\n".join(part), encoding="utf-8")  # the last line ends with the file
    return paths


def held_out_line() -> str:
    """A line that falls into validation."""
    lines = (f"Notice {number} stands everywhere." for number in range(99))
    return next(line for line in lines if xxhash.xxh3_64_intdigest(line.encode()) < 0.2 * 2**64)


def shape(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """All rows of every part, and what the manifest says of the whole."""
    rows = {
        part: support.read_shards(folder, manifest, part).to_pylist() for part in manifest.parts
    }
    totals = {
        part: entry.model_dump(include={"documents", "unknown", "length_histogram", "words"})
        for part, entry in manifest.parts.items()
    }
    kept = manifest.model_dump(include={"counts", "dropped", "inputs", "options", "distinct_texts"})
    return {"rows": rows, "totals": totals, **kept}


def add(output: Path, *inputs: Path, **changes: Any) -> Manifest:
    return support.build(output, *inputs, append=True, **changes)


NEAR = {"dedup": "documents", "near_dedup": 0.7, "min_chars": 30}


@pytest.mark.parametrize("changes", [{}, DEDUP, NEAR], ids=str)
def test_append_after_append_is_one_build(
    texts: list[Path], tmp_path: Path, changes: dict[str, Any]
) -> None:
    if "near_dedup" in changes:
        pytest.importorskip("datasketch")
    whole = shape(tmp_path / "one", support.build(tmp_path / "one", *texts, **changes))
    output = tmp_path / "out"
    support.build(output, texts[0], **changes)
    for path in texts[1:]:
        shards = {p: d for p, d in support.digests(output).items() if "/data-" in p}
        manifest = add(output, path, **changes)
        assert shards.items() <= support.digests(output).items()
    assert shape(output, manifest) == whole
    assert [step.inputs for step in manifest.generations] == [1, 1, 1]
    assert sum(s.shards for s in manifest.generations) == len(manifest.parts["train"].shards)
    assert list(verify_dataset(output))
    opened = datasets.load_from_disk(str(output))
    assert opened["train"].num_rows == manifest.parts["train"].rows
    if not changes:  # two tasks took ten copies each, whichever command read them
        assert whole["counts"]["validation_copies_left_out"] == 40


def test_an_append_that_is_killed_goes_on(texts: list[Path], tmp_path: Path) -> None:
    support.build(tmp_path / "base", texts[0], **DEDUP)
    shutil.copytree(tmp_path / "base", tmp_path / "out")
    add(tmp_path / "base", texts[2], **DEDUP)
    old = read_manifest(tmp_path / "out")
    for events in (1, 4, 9, 9):
        plan = plan_build(support.options(tmp_path / "out", texts[2], append=True, **DEDUP))
        assert not state.is_finished(plan.output, identity(plan))
        running = run_build(plan)
        assert len(list(itertools.islice(running, events))) == events
        running.close()
        assert read_manifest(tmp_path / "out") == old  # which may be trained on meanwhile
    assert list((tmp_path / "out" / ".build").glob("task-*.json"))
    with pytest.raises(WholewordError, match=r"other inputs are being added here .*c\.txt"):
        plan = plan_build(support.options(tmp_path / "out", texts[1], append=True, **DEDUP))
        state.is_finished(plan.output, identity(plan))
    add(tmp_path / "out", texts[2], **DEDUP)
    assert support.digests(tmp_path / "out") == support.digests(tmp_path / "base")


def test_a_kill_between_index_and_manifest(texts: list[Path], tmp_path: Path) -> None:
    support.build(tmp_path / "out", texts[0])
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    add(tmp_path / "out", texts[1])
    whole = support.digests(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_bytes(before[tmp_path / "out" / "manifest.json"])
    tail = tmp_path / "out" / ".build" / "tail-1.json"
    tail.write_bytes(before[tail])
    add(tmp_path / "out", texts[1])
    assert support.digests(tmp_path / "out") == whole


def test_what_was_done_is_recognised(texts: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "out"
    support.build(output, texts[0])
    add(output, texts[1])
    for inputs, append in (((texts[0],), False), ((texts[1],), True), ((texts[0],), True)):
        plan = plan_build(support.options(output, *inputs, append=append))
        assert state.is_finished(output, identity(plan)), (inputs, append)
    plan = plan_build(support.options(output, texts[2], append=True))
    assert not state.is_finished(output, identity(plan))


def test_of_a_folder_that_grows_the_new_files_are_added(texts: list[Path], tmp_path: Path) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "b.txt").write_bytes(texts[0].read_bytes())
    support.build(output, folder)
    shutil.copytree(output, tmp_path / "alone")
    (folder / "a.txt").write_bytes(texts[1].read_bytes())
    add(tmp_path / "alone", folder / "a.txt")
    plan = plan_build(support.options(output, folder, append=True))
    assert plan.known == [str(folder / "b.txt")]
    list(run_build(plan))
    assert support.digests(output) == support.digests(tmp_path / "alone")
    plan = plan_build(support.options(output, folder, append=True))
    assert state.is_finished(output, identity(plan)) and not plan.tasks
    (folder / "a.txt").write_bytes(texts[2].read_bytes())
    with pytest.raises(
        WholewordError, match=r"in/a\.txt has changed since .* would be there twice"
    ):
        plan_build(support.options(output, folder, append=True))


def test_where_copies_are_left_out_a_file_may_grow(tmp_path: Path) -> None:
    own = {**DEDUP, "validation_fraction": 0.0}
    (tmp_path / "log.txt").write_text("one\ntwo\n")
    support.build(tmp_path / "out", tmp_path / "log.txt", **own)
    (tmp_path / "log.txt").write_text("one\ntwo\nthree\n")
    manifest = add(tmp_path / "out", tmp_path / "log.txt", **own)
    assert manifest.parts["train"].documents == 3
    plan = plan_build(support.options(tmp_path / "out", tmp_path / "log.txt", append=True, **own))
    assert state.is_finished(plan.output, identity(plan))


def numbered(output: Path, manifest: Manifest) -> list[dict[str, Any]]:
    return support.read_shards(output, manifest, "train").to_pylist()


@pytest.mark.parametrize("split_size", [100, 250])
@pytest.mark.parametrize("commands", [["a", "b", "c", "d"], ["a", "bc", "d"], ["ab", "cda"]])
def test_small_additions_are_cut_as_one_build(
    split_size: int, commands: list[str], tmp_path: Path
) -> None:
    own = {"split_size": split_size, "validation_fraction": 0.0, "segmenter": "none"}
    names = list(dict.fromkeys("".join(commands)))
    for name in names:
        size = 3 if name == "d" else 10
        (tmp_path / name).mkdir()
        (tmp_path / name / "in.txt").write_text(f"{name} is text\n" * size)
    paths = {name: tmp_path / name / "in.txt" for name in names}
    one = support.build(tmp_path / "one", *paths.values(), **own)
    output = tmp_path / "out"
    manifest = support.build(output, *(paths[name] for name in commands[0]), **own)
    for command in commands[1:]:
        manifest = add(output, *(paths[name] for name in command), **own)
    assert numbered(output, manifest) == numbered(tmp_path / "one", one)


def test_a_task_of_its_own_counts_held_out_copies_anew(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("to train on\n" + f"{held_out_line()}\n" * 30)
    own = {"split_size": path.stat().st_size}
    support.build(tmp_path / "out", path, **own)
    (tmp_path / "more.txt").write_bytes(path.read_bytes())
    manifest = add(tmp_path / "out", tmp_path / "more.txt", **own)
    assert manifest.counts == {"validation_copies_left_out": 40}


def test_an_addition_that_was_given_up_leaves_nothing_behind(
    texts: list[Path], tmp_path: Path
) -> None:
    support.build(tmp_path / "out", texts[0], **DEDUP)
    shutil.copytree(tmp_path / "out", tmp_path / "alone")
    running = run_build(
        plan_build(support.options(tmp_path / "out", texts[2], append=True, **DEDUP))
    )
    next(event for event in running if isinstance(event, Pass) and event.name == "building")
    running.close()
    assert list((tmp_path / "out" / ".build" / "hashes").glob("part-*"))
    for output in (tmp_path / "out", tmp_path / "alone"):
        add(output, texts[1], **DEDUP)
    assert support.digests(tmp_path / "out") == support.digests(tmp_path / "alone")


def test_the_segmenter_is_that_of_the_dataset(texts: list[Path], tmp_path: Path) -> None:
    support.build(tmp_path / "out", texts[0])
    (tmp_path / "en.txt").write_text(support.en_text(2000))
    plan = plan_build(support.options(tmp_path / "out", tmp_path / "en.txt", append=True))
    assert plan.segmenter.kind == "jieba"
    assert plan.segmenter_reason == "as the dataset was built"
    assert identity(plan)["appended"]


def test_other_options_and_parts_are_refused(texts: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "out"
    support.build(output, texts[0])
    for changes, problem in (
        ({"max_length": 32}, r"another build \(--max-length 64 \(now 32\)"),
        ({"dedup": "documents"}, r"another build \(--dedup not given \(now documents\)"),
        ({"segmenter": "none"}, r"another build \(--segmenter jieba \(now none\)"),
        ({"test_inputs": (str(texts[2]),)}, "this command makes train, validation, test"),
    ):
        with pytest.raises(WholewordError, match=problem):
            plan = plan_build(support.options(output, texts[1], append=True, **changes))
            identity(plan)
    (output / ".build" / "tail-1.json").unlink()
    with pytest.raises(WholewordError, match="nothing can be added"):
        add(output, texts[1])
    with pytest.raises(WholewordError, match="holds no finished shards"):
        add(tmp_path / "none", texts[1])


def test_without_its_hashes_nothing_is_added(texts: list[Path], tmp_path: Path) -> None:
    support.build(tmp_path / "out", texts[0], **DEDUP)
    next((tmp_path / "out" / ".build" / "hashes").glob("00001-0000.npy")).write_bytes(b"damaged")
    with pytest.raises(WholewordError, match="lacks what shard 1 hashes to"):
        add(tmp_path / "out", texts[1], **DEDUP)


def test_named_parts_are_added_to(texts: list[Path], tmp_path: Path) -> None:
    def named(*numbers: int) -> dict[str, Any]:
        return {"validation_inputs": tuple(str(texts[number]) for number in numbers)}

    one = support.build(tmp_path / "one", *texts[:2], **named(2, 1))
    support.build(tmp_path / "out", texts[0], **named(2))
    manifest = add(tmp_path / "out", texts[1], **named(1))
    for part in ("train", "validation"):
        rows = [
            support.read_shards(folder, of, part)["input_ids"].to_pylist()
            for folder, of in ((tmp_path / "one", one), (tmp_path / "out", manifest))
        ]
        assert rows[0] == rows[1]
    documents = [
        set(support.read_shards(tmp_path / "out", manifest, part)["document"].to_pylist())
        for part in ("train", "validation")
    ]
    assert not documents[0] & documents[1]


def test_the_command(texts: list[Path], tmp_path: Path) -> None:
    own = ["--output", str(tmp_path / "out"), "--max-length", "64", "--workers", "1"]
    assert invoke("build-shards", "--input", texts[0], *own).status == 0
    both = invoke("build-shards", "--append", "--overwrite", "--input", texts[1], *own)
    both.assert_one_line("give one of the two")
    new = invoke("build-shards", "--input", texts[0], "--input", texts[1], *own)
    new.assert_one_line(f"holds another build (without {texts[1]})", "use --append")
    assert invoke("build-shards", "--append", "--input", texts[1], *own).status == 0
    again = invoke("build-shards", "--append", "--input", texts[1], *own, "--json")
    assert json.loads(again.output)["parts"]["train"]["documents"] > 0
