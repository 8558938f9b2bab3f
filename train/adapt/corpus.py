"""The task's own text, as files that build-shards reads: no label, and no text of the test part."""

import json
from pathlib import Path

from preprocess.errors import WholewordError
from preprocess.files import write_text
from train.evaluate.splits import TaskSplit
from train.evaluate.task_file import Task


def write_corpus(
    task: Task, split: TaskSplit, folder: Path, transductive: bool
) -> tuple[Path, Path]:
    """Write `train.jsonl` and `validation.jsonl` into `folder`; files that are right stay.

    Args:
        task: of `read_task`.
        split: of `make_split`.
        folder: made if it is not there.
        transductive: whether the test part's texts are trained on too.

    Returns:
        The two paths.

    Raises:
        WholewordError: they cannot be written.
    """
    parts = {"train": [split.train] + [split.test] * transductive, "validation": [split.validation]}
    paths = []
    for name, rows in parts.items():
        path = folder / f"{name}.jsonl"
        lines = (
            json.dumps({"text": text}, ensure_ascii=False) + "\n"
            for part in rows
            for row in part.tolist()
            for text in (task.texts[row], task.pairs[row])
            if text.strip()
        )
        _write(path, "".join(lines))
        paths.append(path)
    return paths[0], paths[1]


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
    except OSError as error:
        raise WholewordError(f"{path}: cannot be written ({error.strerror or error})") from error
