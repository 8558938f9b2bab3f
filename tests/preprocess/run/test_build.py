import errno
import json
import os
import shutil
import subprocess
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from transformers import AutoTokenizer

from preprocess import files
from preprocess.encode.tokenizer import load_backend, load_tokenizer
from preprocess.errors import WholewordError
from preprocess.read.cutting import plan_tasks
from preprocess.read.documents import read_task
from preprocess.read.input_files import find_inputs
from preprocess.read.sources import ReadOptions
from preprocess.run import finalize, state
from preprocess.run.build import run_build
from preprocess.run.plan import identity, plan_build
from preprocess.run.tasks import TaskProgress, TaskRun
from preprocess.write import shards
from preprocess.write.manifest import Manifest
from tests.preprocess import support

Built = tuple[Path, Manifest]


def texts_of(folder: Path) -> list[str]:
    """The documents of the corpus, read once and whole."""
    return [
        text
        for task in plan_tasks(find_inputs((str(folder),), "train"), "line", 1 << 40)
        for batch in read_task(task, ReadOptions())
        for text in batch.documents.to_pylist()
    ]


def part_way(output: Path, corpus: Path, events: int) -> None:
    """Begin a build and stop it after some events, as an exception would."""
    running = run_build(plan_build(support.options(output, corpus)))
    for _ in range(events):
        assert not isinstance(next(running), Manifest)
    running.close()


# --- what is in the shards


def test_no_token_is_lost(built: Built, corpus: Path) -> None:
    folder, manifest = built
    backend = load_backend(load_tokenizer(support.TOKENIZER).json)
    texts = texts_of(corpus)
    wanted = [backend.encode(text, add_special_tokens=False).ids for text in texts]
    found = support.document_ids(folder, manifest)
    assert [ids.tolist() for ids in found] == [ids for ids in wanted if ids]
    assert sum(part.tokens for part in manifest.parts.values()) == sum(map(len, wanted))


def test_rows_fit_and_start_words(built: Built) -> None:
    folder, manifest = built
    for part in manifest.parts:
        table = support.read_shards(folder, manifest, part)
        lengths = np.array([len(row) for row in table["input_ids"]])
        assert lengths.min() >= 1
        assert lengths.max() <= manifest.max_length - 2
        assert all(row[0].as_py() for row in table["word_starts"])
        assert (np.diff(table["document"].to_numpy()) >= 0).all()


def test_validation_is_chosen_by_text(built: Built, tmp_path: Path, corpus: Path) -> None:
    _, manifest = built
    share = manifest.parts["validation"].documents / len(texts_of(corpus))
    assert 0.1 < share < 0.3  # of some 250 documents: four standard deviations each way
    (tmp_path / "in.txt").write_text("the same text again\n" * 50 + "another\n")
    same = support.build(tmp_path / "out", tmp_path / "in.txt")
    assert {part.documents for part in same.parts.values()} in ({50, 1}, {51, 0})


def test_the_datasets_library_opens_it(built: Built) -> None:
    folder, manifest = built
    opened = datasets.load_from_disk(str(folder))
    assert list(opened) == ["train", "validation"]
    assert len(opened["train"]) == manifest.parts["train"].rows
    first = support.read_shards(folder, manifest, "train").slice(0, 1).to_pylist()[0]
    assert opened["train"][0] == first
    assert opened["train"].features["input_ids"].feature.dtype == "uint16"


def test_the_tokenizer_is_copied(built: Built) -> None:
    copy = AutoTokenizer.from_pretrained(built[0] / "tokenizer")
    assert copy.get_vocab() == AutoTokenizer.from_pretrained(support.TOKENIZER).get_vocab()


def test_everything_is_counted(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(
        b"ok\n\n \nbad \xff\xfe\n" + b"x" * 300 + b"y\n\xe2\x98\x84\n"
    )
    manifest = support.build(tmp_path / "out", tmp_path / "in.txt", validation_fraction=0.0)
    assert manifest.counts == {"blank_lines": 2, "bytes_replaced": 2}
    assert list(manifest.parts) == ["train"]
    assert manifest.parts["train"].documents == 4
    assert manifest.parts["train"].unknown >= 2


def test_named_parts_take_named_files(tmp_path: Path, corpus: Path) -> None:
    manifest = support.build(
        tmp_path / "out",
        corpus / "zh.txt",
        validation_inputs=(str(corpus / "en.jsonl"),),
        test_inputs=(str(corpus / "en.jsonl"),),
    )
    assert list(manifest.parts) == ["train", "validation", "test"]
    lines = len((corpus / "en.jsonl").read_text().splitlines())
    assert manifest.parts["validation"].documents == manifest.parts["test"].documents == lines
    assert manifest.options["validation_fraction"] == 0


@pytest.mark.parametrize("separator", ["blank-line", "file"])
def test_other_documents_lose_nothing_either(tmp_path: Path, corpus: Path, separator: str) -> None:
    manifest = support.build(tmp_path / "out", corpus / "zh.txt", document_separator=separator)
    found = np.concatenate(support.document_ids(tmp_path / "out", manifest))
    backend = load_backend(load_tokenizer(support.TOKENIZER).json)
    text = (corpus / "zh.txt").read_text()
    assert found.tolist() == backend.encode(text, add_special_tokens=False).ids


# --- the same bytes


@pytest.mark.parametrize(
    "changes", [{"workers": 2}, {"encoder": "reference"}, {"audit": 7}], ids=str
)
def test_bytes_depend_on_input_and_options_alone(
    built: Built, tmp_path: Path, corpus: Path, changes: dict[str, object]
) -> None:
    support.build(tmp_path / "again", corpus, **changes)
    assert support.digests(tmp_path / "again") == support.digests(built[0])


# --- going on, and refusing to


@pytest.mark.parametrize("events", [3, 6])
def test_a_stopped_build_is_continued(
    built: Built, tmp_path: Path, corpus: Path, events: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    part_way(output, corpus, events)
    done = len(list((output / ".build").glob("task-*.json")))
    assert done >= 1
    assert not (output / "manifest.json").exists()
    begun: list[int] = []
    run = TaskRun.__call__
    monkeypatch.setattr(
        TaskRun, "__call__", lambda self, task: (begun.append(task.number), run(self, task))[1]
    )
    manifest = support.build(output, corpus)
    assert len(begun) == len(manifest.parts["train"].shards) - done
    assert support.digests(output) == support.digests(built[0])


def damage_shard(output: Path) -> None:
    path = output / "train" / shards.shard_name(0, task_count(output))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_shard(output: Path) -> None:
    path = output / "train" / shards.shard_name(0, task_count(output))
    path.write_bytes(path.read_bytes()[:-9])


def remove_shard(output: Path) -> None:
    (output / "validation" / shards.shard_name(0, task_count(output))).unlink()


def cut_report(output: Path) -> None:
    path = output / ".build" / "task-00000.json"
    path.write_text(path.read_text()[:50])


def change_report(output: Path) -> None:
    path = output / ".build" / "task-00000.json"
    text = path.read_text()
    path.write_text(text.replace('"documents": ', '"documents": 1', 1))


def damage_index(output: Path) -> None:
    path = output / ".build" / "task-00000-train.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_index(output: Path) -> None:
    path = output / ".build" / "task-00000-train.arrow"
    path.write_bytes(path.read_bytes()[:100])


def remove_index(output: Path) -> None:
    (output / ".build" / "task-00000-train.arrow").unlink()


def leave_temporaries(output: Path) -> None:
    for name in ("train/.data-00001-of-00009.arrow.tmp", ".manifest.json.tmp"):
        (output / name).write_bytes(b"half")


def task_count(output: Path) -> int:
    return int(next((output / "train").glob("data-00000-of-*")).stem.rsplit("-", 1)[1])


@pytest.mark.parametrize(
    "damage",
    [
        damage_shard,
        cut_shard,
        remove_shard,
        cut_report,
        change_report,
        damage_index,
        cut_index,
        remove_index,
        leave_temporaries,
    ],
)
def test_damaged_files_are_rebuilt(built: Built, tmp_path: Path, corpus: Path, damage) -> None:
    output = tmp_path / "out"
    part_way(output, corpus, 4)
    damage(output)
    support.build(output, corpus)
    assert support.digests(output) == support.digests(built[0])


def test_a_build_killed_before_its_plan_was_written_is_taken_up(
    built: Built, tmp_path: Path, corpus: Path
) -> None:
    output = tmp_path / "out"
    with state.locked(output):
        pass
    assert not state.is_finished(output, {})
    support.build(output, corpus)
    assert support.digests(output) == support.digests(built[0])


# --- a disk that is full


@pytest.mark.parametrize(
    ("where", "after"),
    [("shards.ShardWriter._put", 5), ("files.publish", 3), ("finalize.write_index", 0)],
)
def test_a_full_disk_is_one_line_and_the_build_goes_on_later(
    built: Built,
    tmp_path: Path,
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    after: int,
) -> None:
    left = [after]

    def full(*arguments: object) -> None:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= 1
        original(*arguments)

    module, _, name = where.rpartition(".")
    owners = {"shards.ShardWriter": shards.ShardWriter, "files": files, "finalize": finalize}
    owner = owners[module]
    original = getattr(owner, name)
    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        with pytest.raises(
            WholewordError, match=r"out: cannot be written .No space left on device"
        ):
            support.build(output, corpus)
    assert not (output / "manifest.json").exists()
    support.build(output, corpus)
    assert support.digests(output) == support.digests(built[0])


def test_a_really_full_disk(tmp_path: Path, corpus: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        with pytest.raises(WholewordError, match=r"cannot be written .*No space left"):
            support.build(disk / "out", corpus)
        assert not (disk / "out" / "manifest.json").exists()
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        support.build(disk / "out", corpus)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# --- what cannot be built


def test_input_without_text_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text(" \n\n\t\n")
    with pytest.raises(WholewordError, match=r"in.txt: no document with text was left"):
        support.build(tmp_path / "out", tmp_path / "in.txt")
    assert not list(support.published(tmp_path / "out"))
    (tmp_path / "in.jsonl").write_text('{"text": 5}\n{"text": null}\n')
    with pytest.raises(WholewordError, match=r"\(not text: 1, null texts: 1\); check --text-field"):
        support.build(tmp_path / "out", tmp_path / "in.jsonl")


def test_a_bad_line_stops_the_build_and_keeps_what_is_done(tmp_path: Path) -> None:
    good = "".join(json.dumps({"text": f"line {i}"}) + "\n" for i in range(2000))
    (tmp_path / "in.jsonl").write_text(good + "{broken\n")
    output = tmp_path / "out"
    for workers in (1, 2):
        with pytest.raises(WholewordError, match=r"in.jsonl:2001: not a JSON object"):
            support.build(output, tmp_path / "in.jsonl", workers=workers)
        assert not (output / "manifest.json").exists()
        assert list((output / ".build").glob("task-*.json"))
        assert not list(output.glob("*/.*.tmp")) or workers == 2


@pytest.mark.parametrize("replaced", [True, False])
def test_input_that_changes_during_a_build_ends_it_and_is_not_taken_up(
    tmp_path: Path, corpus: Path, replaced: bool
) -> None:
    source, output = tmp_path / "in.txt", tmp_path / "out"
    shutil.copy(corpus / "zh.txt", source)
    running = run_build(plan_build(support.options(output, source)))
    while not list((output / ".build").glob("task-*.json")):
        next(running)
    other = source.read_bytes()[::-1]
    if replaced:
        (tmp_path / "new").write_bytes(other)
        (tmp_path / "new").rename(source)
    else:
        source.write_bytes(other)
    with pytest.raises(WholewordError, match=f"{source}: changed while the build read it"):
        list(running)
    assert not (output / "manifest.json").exists()
    assert len(list(output.glob("train/data-*"))) == len(list(output.glob(".build/task-*.json")))
    with pytest.raises(WholewordError, match="other content of"):
        state.is_finished(output, identity(plan_build(support.options(output, source))))


def test_a_defect_names_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.txt").write_text("one\ntwo\n")

    class Broken:
        def encode(self, documents: pa.Array) -> None:
            raise ZeroDivisionError("a surprise")

    monkeypatch.setattr("preprocess.run.tasks.make_encoder", lambda spec: Broken())
    with pytest.raises(ZeroDivisionError) as error:
        support.build(tmp_path / "out", tmp_path / "in.txt")
    assert error.value.__notes__ == [
        f"in the documents from {tmp_path}/in.txt, byte 0, to {tmp_path}/in.txt, byte 4"
    ]


def test_the_audit_finds_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.txt").write_text("天下大势\n分久必合\n")
    original = TaskRun._encode

    def wrong(self: TaskRun, batch):
        encoded = original(self, batch)
        encoded.word_starts[-1] ^= True
        return encoded

    monkeypatch.setattr(TaskRun, "_encode", wrong)
    with pytest.raises(
        WholewordError, match=r"in.txt: audit: word_starts of the document at byte 13"
    ):
        support.build(tmp_path / "out", tmp_path / "in.txt", audit=1)


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"max_length": 7}, "--max-length 7"),
        ({"max_length": 65_536}, "--max-length 65536"),
        ({"validation_fraction": 1.0}, "--validation-fraction 1.0"),
        ({"validation_fraction": float("nan")}, "--validation-fraction nan"),
        ({"document_separator": "page"}, "--document-separator page"),
        ({"encoder": "fast"}, "--encoder fast"),
        ({"workers": 0}, "--workers 0"),
        ({"audit": -1}, "--audit -1"),
        ({"split_size": -5}, "--split-size -5"),
        ({"split_size": 0}, "--split-size 0"),
    ],
)
def test_values_out_of_range_are_named(changes: dict[str, object], flag: str) -> None:
    with pytest.raises(WholewordError, match=f"^{flag}: "):
        support.options(Path("out"), Path("in"), **changes).check()


def test_the_compiled_encoder_says_why_it_cannot(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(WholewordError, match=r"--encoder compiled: .*; use --encoder auto"):
        plan_build(
            support.options(
                tmp_path / "out",
                corpus,
                encoder="compiled",
                segmenter="tests.preprocess.encode.test_segmenters:halves",
            )
        )


def test_every_task_reports_progress(tmp_path: Path, corpus: Path) -> None:
    plan = plan_build(support.options(tmp_path / "out", corpus, audit=7))
    events = list(run_build(plan))
    assert sum(e.bytes for e in events if isinstance(e, TaskProgress)) == plan.bytes
    assert isinstance(events[-1], Manifest)
    documents = len(texts_of(corpus))
    audited = sum(
        e.audit.get("documents_audited", 0) for e in events if isinstance(e, TaskProgress)
    )
    assert documents / 7 <= audited <= documents / 7 + len(plan.tasks)
