"""Documents of a task as the rest of a build sees them, and the sample that plans are made from."""

from collections import Counter
from pathlib import Path

import pytest

from preprocess.clean.cleaner import Rules
from preprocess.read.cutting import plan_tasks
from preprocess.read.input_files import find_inputs
from preprocess.read.sources import ReadOptions
from preprocess.run import task_documents
from preprocess.run.task_documents import ReadSpec, TaskDocuments, sample_texts


def write_files(folder: Path, count: int) -> None:
    for number in range(count):
        lines = [f"file {number}, line {line}\n" for line in range(4)]
        (folder / f"{number:02d}.txt").write_text("".join(lines) + "\n" * number)


def test_slow_work_gets_the_same_documents_in_small_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, 9)
    [task] = plan_tasks(find_inputs((str(tmp_path),), "train"), "line", 1 << 20)
    monkeypatch.setattr(task_documents, "PIECE_BYTES", 50)
    found = []
    for slow in (False, True):
        batches = list(TaskDocuments(ReadSpec(ReadOptions(), Rules(), slow))(task))
        counts: Counter[str] = Counter()
        documents, read = [], 0
        for kept in batches:
            counts.update(kept.batch.counts)
            read += kept.batch.bytes_read
            for i, text in enumerate(kept.batch.documents.to_pylist()):
                documents.append((text, int(kept.numbers[i]), kept.batch.place(i)))
        sources = [source for kept in batches for source in kept.sources]
        found.append((documents, counts, read, sources))
        assert len(batches) == 1 if not slow else len(batches) > 9
    assert found[0] == found[1]
    assert found[0][2] == task.bytes


def test_the_sample_is_from_all_over_the_input(tmp_path: Path) -> None:
    write_files(tmp_path, 20)
    files = find_inputs((str(tmp_path),), "train")
    seen = {text.split(",")[0] for text in sample_texts(files, ReadOptions())}
    assert seen == {f"file {number}" for number in range(0, 20, 3)}
    lines = "".join(f"line {number} of a large file\n" for number in range(200_000))
    (tmp_path / "large.txt").write_text(lines)
    files = find_inputs((str(tmp_path / "large.txt"),), "train")
    numbers = [int(text.split()[1]) for text in sample_texts(files, ReadOptions())]
    assert len(numbers) < 1000
    assert min(numbers) < 10_000 and max(numbers) > 150_000
