"""What tests of `preprocess` share: a small corpus, builds in this process, the command line."""

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from preprocess.cli import app
from preprocess.console import run_command
from preprocess.options import BuildOptions
from preprocess.run.build import run_build
from preprocess.run.plan import plan_build
from preprocess.write.manifest import Manifest

REPOSITORY = Path(__file__).resolve().parents[2]
TOKENIZER = str(REPOSITORY / "samples" / "tokenizer")
ZH_SAMPLE = REPOSITORY / "samples" / "zh" / "sanguo.txt"
EN_SAMPLE = REPOSITORY / "samples" / "en" / "kjv_new_testament.txt"
SPLIT_SIZE = 8 << 10
ODD_TEXTS = [
    "literal [SEP] and [MASK] and <s> are text",
    "nul \0 and \ufeff inside, \u200b too",
    "emoji 😀👨‍👩‍👧, İstanbul, é, ﬁ, 한국어, ไทย",
    "3.14 C++ e-mail@example.org 100%。",
    "x" * 300,
    "一二三" * 700,
]


def zh_text(size: int = 45_000) -> str:
    """The beginning of the Chinese sample, whole lines of about `size` bytes."""
    return ZH_SAMPLE.read_bytes()[:size].rsplit(b"\n", 1)[0].decode() + "\n"


def en_text(size: int = 20_000) -> str:
    """The beginning of the English sample, whole lines of about `size` bytes."""
    return EN_SAMPLE.read_bytes()[:size].rsplit(b"\n", 1)[0].decode() + "\n"


def write_corpus(folder: Path) -> None:
    """Write `zh.txt` (with odd texts among the prose) and `en.jsonl`."""
    (folder / "zh.txt").write_text(zh_text() + "".join(f"{text}\n" for text in ODD_TEXTS))
    lines = [json.dumps({"text": line}) for line in en_text().splitlines() if line]
    (folder / "en.jsonl").write_text("\n".join(lines))


def options(output: Path, *inputs: Path, **changes: Any) -> BuildOptions:
    """Options of a small build: many tasks, some validation, one process."""
    values: dict[str, Any] = {
        "tokenizer": TOKENIZER,
        "max_length": 64,
        "validation_fraction": 0.2,
        "split_size": SPLIT_SIZE,
        "audit": 0,  # it loads jieba again, a second each time
    }
    return BuildOptions(tuple(map(str, inputs)), str(output), **{**values, **changes})


def build(output: Path, *inputs: Path, **changes: Any) -> Manifest:
    """Build in this process; returns the manifest."""
    *_, manifest = run_build(plan_build(options(output, *inputs, **changes)))
    assert isinstance(manifest, Manifest)
    return manifest


def digests(folder: Path) -> dict[str, str]:
    """Hash of every file of a dataset; the build's own state (`.build`) is no part of it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != ".build"
    }


def read_shards(folder: Path, manifest: Manifest, part: str) -> pa.Table:
    """All rows of a part, shard after shard."""
    tables = []
    for shard in manifest.parts[part].shards:  # type: ignore[index]
        with pa.memory_map(str(folder / shard.file)) as source:
            tables.append(pa.ipc.open_stream(source).read_all())
    return pa.concat_tables(tables)


def document_ids(folder: Path, manifest: Manifest) -> list[np.ndarray]:
    """Ids of every document, in the order of the input, the rows of all parts put together."""
    documents: dict[int, list[np.ndarray]] = {}
    for part in manifest.parts:
        table = read_shards(folder, manifest, part)
        ids, numbers = table["input_ids"], table["document"].to_pylist()
        for row, number in enumerate(numbers):
            documents.setdefault(number, []).append(ids[row].values.to_numpy())
    return [np.concatenate(documents[number]) for number in sorted(documents)]


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    output: str
    errors: str

    def assert_one_line(self, *words: str) -> None:
        """Assert a user's error: status 1, one line on standard error that has these words."""
        assert self.status == 1, self
        assert self.errors.startswith("error: "), self
        assert self.errors.count("\n") == 1, self
        assert "Traceback" not in self.errors + self.output, self
        for word in words:
            assert word in self.errors, self


def run_cli(
    *arguments: str | Path,
    cwd: Path = REPOSITORY,
    timeout: float = 120,
    environment: dict[str, str] | None = None,
) -> Outcome:
    """Run `python -m preprocess` as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "preprocess", *map(str, arguments)],
        cwd=cwd,
        env={**(environment or os.environ), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def invoke(*arguments: str | Path, app: Callable[[list[str]], Any] = app) -> Outcome:
    """The same in this process, which saves the seconds of importing; `app` may be train's."""
    output, errors = io.StringIO(), io.StringIO()
    status = 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            run_command(lambda: app(list(map(str, arguments))))
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Outcome(status, output.getvalue(), errors.getvalue())


def published(folder: Path) -> Iterator[str]:
    """Names of the files in a folder that readers of a dataset would take for theirs."""
    for path in folder.rglob("*"):
        if path.is_file() and ".build" not in path.parts and not path.name.startswith("."):
            yield path.name
