"""Runs the trainer with one option after the other, in one process: each run is a second's work.

    python -m tests.train.option_runs FOLDER

Prints {name: [exit status, standard output, standard error]} as its last line.
"""

import contextlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from transformers import AutoTokenizer

from tests.train import runs
from tests.train.shard_factory import ShardSpec, make_shards
from train import pretrain

ROWS, VOCABULARY, ADDED = (120, 60), 8000, 3
BATCH = ("--per-device-train-batch-size", "2", "--gradient-accumulation-steps", "3")
COMMON = (*BATCH, "--max-steps", "4", "--logging-steps", "1", "--precision", "fp32")
COMMON = (*COMMON, "--save-steps", "1", "--save-total-limit", "2")
QUIET = ("--eval-steps", "0", "--report-to", "none")
SCHEDULES = ("cosine", "wsd")
SCHEDULED = ("--max-steps", "10", "--save-steps", "0", "--gradient-accumulation-steps", "1")
MISSPELT = {"zero_optimisation": {"stage": 2}}
DIVERGING = {"optimizer": {"type": "AdamW", "params": {"lr": 1e30, "weight_decay": 0.0}}}


def make_data(folder: Path) -> None:
    """Three shards folders: plain, of pairs, and with a vocabulary that has grown."""
    tokenizer = runs.ROOT / "samples" / "tokenizer"
    for name, pairs, size in (
        ("shards", False, VOCABULARY),
        ("pair shards", True, VOCABULARY),
        ("grown shards", False, VOCABULARY + ADDED),
    ):
        spec = ShardSpec(rows=ROWS, max_length=32, vocab_size=size, pairs=pairs, sentence_share=0.3)
        make_shards(folder / name, spec)
        shutil.copytree(tokenizer, folder / name / "tokenizer")
    grown = AutoTokenizer.from_pretrained(tokenizer)
    grown.add_tokens([f"added{number}" for number in range(ADDED)])
    grown.save_pretrained(folder / "grown shards" / "tokenizer")


def train(folder: Path, name: str, *options: str, data: str = "shards") -> tuple[int, str, str]:
    """One run into the folder `name`, as the only rank."""
    paths = ["--data", str(folder / data), "--output-dir", str(folder / name)]
    out, err = io.StringIO(), io.StringIO()
    model = () if "--model" in options else runs.MODEL
    # A file that gives a rate allows none on the command line.
    rate = () if any("diverging" in option for option in options) else ("--learning-rate", "1e-2")
    defaults = runs.without((*COMMON, *model, *rate), options)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = pretrain.main([*paths, *defaults, *options])
    return status, out.getvalue(), err.getvalue()


def forget(run: Path, step: int) -> None:
    """Leave a run as if it had been killed after the checkpoint of a step."""
    shutil.rmtree(run / "final")
    for checkpoint in (run / "checkpoints").glob("step-*"):
        if int(checkpoint.name[-8:]) > step:
            shutil.rmtree(checkpoint)


def config(folder: Path, name: str, changes: dict[str, object], stage: int = 2) -> tuple[str, str]:
    """The option that names a configuration file with some changes."""
    values = json.loads((runs.ROOT / "ds_configs" / f"zero{stage}.json").read_text()) | changes
    (folder / name).write_text(json.dumps(values))
    return "--deepspeed", str(folder / name)


def main(folder: Path) -> dict[str, tuple[int, str, str]]:
    with runs.many_runs():
        return run_all(folder)


def run_all(folder: Path) -> dict[str, tuple[int, str, str]]:
    make_data(folder)
    found = {}

    def run(name: str, *options: str, data: str = "shards", again: str = "") -> None:
        found[name + again] = train(folder, name, *options, data=data)

    run("plain", *QUIET)
    run("recomputed", *QUIET, "--gradient-checkpointing")
    endless = ("--max-steps", "1000000", "--save-steps", "0", "--save-total-limit", "0")
    run("timed", *QUIET, *endless, "--save-time", "1s", "--max-train-time", "2s")
    early = ("--eval-steps", "1", "--early-stopping-patience", "2", "--learning-rate", "9")
    run("early", *early, "--max-steps", "40")
    run("few rows", "--eval-steps", "2", "--max-steps", "2", "--max-eval-rows", "1")
    shutil.rmtree(folder / "early" / "final")
    run("early", *early, "--max-steps", "40", again=" again")
    warming = (*QUIET, "--batch-warmup", "4", "--save-total-limit", "0")
    run("warmed", *warming)
    shutil.copytree(folder / "warmed", folder / "resumed")
    forget(folder / "resumed", 2)
    run("resumed", *warming)
    for objective in ("sentence-order", "next-sentence"):
        run(objective, f"--{objective}", "--max-steps", "2", data="pair shards")
    for kind in SCHEDULES:
        run(kind, *QUIET, *SCHEDULED, "--lr-scheduler-type", kind)
    for stage in range(4):
        diverging = config(folder, f"diverging{stage}.json", DIVERGING, stage)
        run(f"diverged{stage}", *QUIET, *diverging)
        grown = config(folder, f"grown{stage}.json", {}, stage)
        run(
            f"grown{stage}",
            *QUIET,
            *grown,
            "--model",
            str(folder / "plain/final"),
            data="grown shards",
        )
    refused(folder, run)
    return found


def refused(folder: Path, run: Callable[..., None]) -> None:
    """Runs that cannot begin, or meet damage."""
    run("misspelt", *config(folder, "misspelt.json", MISSPELT))
    run("inner", *config(folder, "inner.json", {"zero_optimization": {"stagee": 2}}))
    run("lamb", *config(folder, "lamb.json", {"optimizer": {"type": "Lamb"}}))
    run("preset", "--model", "bert-tinny")
    run("plain", "--model", "bert-tinny", again=" with a misspelt preset")
    run("of a run", "--model", str(folder / "plain"))
    run("no wandb", "--report-to", "wandb")
    run("no pairs", "--sentence-order")
    run("positions", "--config-overrides", "max_position_embeddings=20")
    run("vocabulary", "--model", str(folder / "grown2" / "final"))
    for damage in ("flipped", "truncated", "unindexed", "empty"):
        shutil.copytree(folder / "shards", folder / damage)
        shard = folder / damage / "train" / "data-00000-of-00002.arrow"
        content = bytearray(shard.read_bytes())
        if damage == "flipped":
            content[len(content) // 2] ^= 1
            shard.write_bytes(content)
        elif damage == "truncated":
            shard.write_bytes(content[:-8])
        elif damage == "unindexed":
            (folder / damage / "train" / "index.arrow").unlink()
        else:
            shutil.rmtree(folder / damage)
        run(f"on {damage}", *QUIET, data=damage)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
