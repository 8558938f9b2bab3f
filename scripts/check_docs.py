"""Run the commands of README.md and docs/ that can be run, in a copy with small files.

    bash scripts/check_docs.sh                       # about ten minutes on two cores
    bash scripts/check_docs.sh --page docs/data.md   # one page's commands
    python scripts/check_docs.py --list              # every command, and what becomes of it

`scripts/doc_commands.txt` classifies commands; one without a rule is an error, as is one that
fails.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.doc_commands import RULES, Command, Rule, commands, rule_for, rules  # noqa: E402

MODELS = (
    *("bert-base-chinese", "minilm", "runs/s1/final", "runs/s2/final"),
    *("runs/quickstart/final", "runs/mine/best", "runs/a/best", "runs/b/best"),
)
"""Names in the documentation; in the copy each is a tiny model with the sample's tokenizer."""
_TIMEOUT = 300.0
"""Seconds of one command."""


def main() -> int:
    """Check the documentation; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--list", action="store_true", help="run nothing, show the classification")
    parser.add_argument("--page", help="one page, such as docs/data.md")
    arguments = parser.parse_args()
    known = rules()
    found = [(c, rule_for(c, known)) for c in commands() if arguments.page in (None, c.page)]
    unknown = [command for command, rule in found if rule is None]
    for command in unknown:
        where = f"{command.page}:{command.line}"
        print(f"error: {where}: no rule in {RULES.name} for: {command.text}", file=sys.stderr)
    if arguments.list:
        for command, rule in found:
            if rule:
                print(f"{rule.kind:5} {command.page}:{command.line}: {command.text}  ({rule.rest})")
        return int(bool(unknown))
    if unknown:
        return 1
    runnable = {command.text: (command, rule) for command, rule in found if rule.kind == "run"}
    for rule in dict.fromkeys(rule for _, rule in found if rule and rule.kind == "needs"):
        print(f"not run: {rule.pattern} needs {rule.rest}")
    with tempfile.TemporaryDirectory(prefix="wholeword-docs-") as folder:
        copy = make_copy(Path(folder))
        return run_all(copy, list(runnable.values()))


def run_all(copy: Path, found: list[tuple[Command, Rule]]) -> int:
    """Run commands one after the other; returns 1 if any failed."""
    failed, began = 0, time.monotonic()
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": str(copy),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    for number, (command, rule) in enumerate(found):
        words = f"{command.text} {rule.rest}".strip()
        if "train/pretrain.py" in words and "--output-dir" not in words:
            words += f" --output-dir runs/check-{number}"  # else all would share runs/default
        start = time.monotonic()
        status, output = _run(words, copy, environment)
        seconds = time.monotonic() - start
        print(f"{'FAILED' if status else 'ok'} {seconds:5.1f} s  {words}", flush=True)
        if status:
            failed += 1
            print(f"{command.page}:{command.line}: exit status {status}\n{output}", flush=True)
    minutes = (time.monotonic() - began) / 60
    print(f"{len(found)} commands, {failed} failed, {minutes:.1f} minutes")
    return int(failed > 0)


def _run(words: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """The exit status, and the end of what a command says."""
    try:
        done = subprocess.run(
            ["bash", "-c", words],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, f"took more than {_TIMEOUT:.0f} s"
    return done.returncode, done.stdout[-3000:]


def make_copy(folder: Path) -> Path:
    """A copy of the checkout, with the files that the documentation's commands name."""
    copy = folder / "wholeword"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    _write_texts(copy)
    _write_tables(copy)
    _write_models(copy)
    return copy


def _write_texts(copy: Path) -> None:
    text = (copy / "samples/zh/sanguo.txt").read_text(encoding="utf-8")[:60_000]
    lines = text.splitlines(keepends=True)
    (copy / "samples/zh/sanguo.txt").write_text(text, encoding="utf-8")
    for name in ("corpus/a.txt", "corpus.txt", "task.txt"):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text("".join(lines[:200]), encoding="utf-8")
    for name in ("more.txt", "held_out.txt", "lines.txt"):
        (copy / name).write_text("".join(lines[-30:]), encoding="utf-8")
    (copy / "court").mkdir()
    (copy / "court/a.txt").write_text("".join(lines[:200]), encoding="gb18030", errors="replace")
    (copy / "rules.py").write_text('def no_links(text):\n    return "http" not in text\n')


def _write_tables(copy: Path) -> None:
    import datasets
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    datasets.disable_progress_bars()
    text = (copy / "corpus.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip()]
    pages = [{"content": line, "meta": {"title": line[:4]}} for line in lines]
    pa.parquet.write_table(pa.Table.from_pylist(pages), copy / "pages.parquet")
    pa.csv.write_csv(pa.table({"review": lines}), copy / "reviews.csv")
    saved = datasets.Dataset.from_dict({"text": lines})
    saved.save_to_disk(str(copy / "saved"))
    splits = dict.fromkeys(("train", "validation", "test", "unsupervised"), saved)
    datasets.DatasetDict(splits).save_to_disk(str(copy / "imdb"))
    rated = [json.dumps({"text": line[:60], "label": i % 2}) for i, line in enumerate(lines)]
    (copy / "reviews.jsonl").write_text("\n".join(rated), encoding="utf-8")


def _write_models(copy: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = BertConfig(
        vocab_size=8000,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    first = copy / MODELS[0]
    BertForMaskedLM(config).save_pretrained(first)
    for file in (copy / "samples/tokenizer").iterdir():
        shutil.copyfile(file, first / file.name)
    for name in MODELS[1:]:
        shutil.copytree(first, copy / name)
    build = "python -m preprocess build-shards --input corpus --tokenizer bert-base-chinese"
    subprocess.run(
        [sys.executable, *build.split()[1:], "--output", "task-shards", "--workers", "1"],
        cwd=copy,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    for name in ("shards", "law-shards", "general-shards", "runs/quickstart-shards"):
        shutil.copytree(copy / "task-shards", copy / name)


if __name__ == "__main__":
    sys.exit(main())
