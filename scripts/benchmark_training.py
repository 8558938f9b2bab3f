"""Training speed beside the Hugging Face Trainer: same model, data, tokens a step and machine.

    python scripts/benchmark_training.py                              # BERT-base on product reviews
    python scripts/benchmark_training.py --data shards --json out.json
    python scripts/benchmark_training.py --accumulation 2 --steps 1   # sooner, and less exact

Wholeword runs as its users run it, by `train/pretrain.py`. Its peers are the Trainer set up as
`run_mlm.py` of transformers' examples sets it up, each in a process of its own:

    trainer_default        texts joined and cut into blocks of 512, fp32, its other defaults
    trainer_line_by_line   a row a line, padded to the longest of the batch, fp32
    trainer_best           blocks of 512, bf16, fused AdamW, sdpa

Only real tokens count, special tokens included and padding not. The first step is left out. The
peers read token ids that are in memory already; tokenizing them is not on the clock.
"""

import argparse
import importlib.util
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

import torch  # noqa: E402

from preprocess.write.manifest import read_manifest  # noqa: E402
from scripts.benchmark_report import Result, show, write_json  # noqa: E402

BLOCK = 512
ROWS = 8  # rows of full length in a micro-batch: run_mlm's default, and ours
PEERS = ("trainer_default", "trainer_line_by_line", "trainer_best")
GOALS = {"trainer_default": 3.0, "trainer_line_by_line": 4.0, "trainer_best": 1.3}


@dataclass(frozen=True)
class Work:
    """What every contender does."""

    data: Path
    """A folder of shards."""
    model: str
    """A preset's name."""
    accumulation: int
    """Micro-batches a step; a step has accumulation * ROWS * BLOCK tokens."""
    steps: int
    """Steps on the clock."""

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.accumulation * ROWS * BLOCK


# ------------------------------------------------------------------------------ wholeword


def run_wholeword(work: Work, folder: Path) -> dict[str, float]:
    """Train by the real command; returns real tokens/s and MFU, from its metrics.jsonl."""
    command = [
        *(sys.executable, "train/pretrain.py", "--deepspeed", "ds_configs/zero2.json"),
        *("--data", str(work.data), "--model", work.model, "--output-dir", str(folder)),
        *("--max-steps", str(work.steps + 1), "--logging-steps", "1"),
        *("--eval-steps", "0", "--save-steps", "0"),
        *("--per-device-train-batch-size", str(work.tokens // work.accumulation // rows(work))),
        *("--gradient-accumulation-steps", str(work.accumulation)),
    ]
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    timed = [record for record in map(json.loads, lines) if record["kind"] == "train"][1:]
    # Every step has as many tokens, so means over time are harmonic means over steps.
    return {
        key: statistics.harmonic_mean([record[key] for record in timed])
        for key in ("tokens_per_second", "mfu")
    }


def rows(work: Work) -> int:
    """Tokens of the shards' longest row."""
    return read_manifest(work.data).max_length


# ---------------------------------------------------------------------------------- peers


def run_peer(name: str, work: Work, folder: Path) -> dict[str, float]:
    """Train by the Hugging Face Trainer in a process of its own."""
    result = folder / "result.json"
    command = [
        *(sys.executable, __file__, "--peer", name, "--json", str(result)),
        *("--data", str(work.data), "--model", work.model),
        *("--accumulation", str(work.accumulation), "--steps", str(work.steps)),
    ]
    subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
    return json.loads(result.read_text())


def train_peer(name: str, work: Work) -> dict[str, float]:
    """Be the process of one peer."""
    from transformers import (
        AutoModelForMaskedLM,
        AutoTokenizer,
        DataCollatorForLanguageModeling,
        Trainer,
        TrainingArguments,
    )

    from train.model.presets import preset_config
    from train.model.shards_vocabulary import shards_vocabulary

    manifest = read_manifest(work.data)
    tokenizer = AutoTokenizer.from_pretrained(work.data / "tokenizer")
    vocabulary = replace(shards_vocabulary(work.data, manifest), max_length=BLOCK)
    config = preset_config(work.model, vocabulary)
    examples = peer_rows(work) if name == "trainer_line_by_line" else peer_blocks(work)
    per_device, accumulation = peer_batch(name, work, examples)
    best: dict[str, Any] = {}
    if name == "trainer_best":
        best = {
            "bf16": True,
            "optim": "adamw_torch_fused",
            "use_cpu": not torch.cuda.is_available(),
        }
    clock = make_clock(Trainer)
    trainer = clock(
        model=AutoModelForMaskedLM.from_config(
            config, **({"attn_implementation": "sdpa"} if best else {})
        ),
        args=TrainingArguments(
            output_dir="peer",
            per_device_train_batch_size=per_device,
            gradient_accumulation_steps=accumulation,
            max_steps=work.steps + 1,
            save_strategy="no",
            report_to=[],
            **best,
        ),
        train_dataset=examples,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15),
    )
    trainer.train()
    (first, before), (last, after) = trainer.ends[0], trainer.ends[-1]
    return {"tokens_per_second": (after - before) / (last - first)}


def peer_rows(work: Work) -> list[dict[str, list[int]]]:
    """The shards' rows with their special tokens, as --line_by_line makes them."""
    from datasets import load_from_disk

    special = read_manifest(work.data).tokenizer
    wanted = 4 * (work.steps + 1) * work.tokens  # more than are read, so that batches are random
    examples, total = [], 0
    for ids in load_from_disk(str(work.data))["train"]["input_ids"]:
        tokens = [*special.prefix, *ids, *special.suffix]
        examples.append({"input_ids": tokens, "attention_mask": [1] * len(tokens)})
        total += len(tokens)
        if total >= wanted:
            break
    return examples


def peer_blocks(work: Work) -> list[dict[str, list[int]]]:
    """The rows joined and cut into blocks, the remainder dropped, as run_mlm does."""
    joined = list(itertools.chain.from_iterable(row["input_ids"] for row in peer_rows(work)))
    ends = range(BLOCK, len(joined) + 1, BLOCK)
    return [{"input_ids": joined[end - BLOCK : end], "attention_mask": [1] * BLOCK} for end in ends]


def peer_batch(name: str, work: Work, examples: list[dict[str, list[int]]]) -> tuple[int, int]:
    """Rows of a micro-batch and micro-batches of a step, for the same tokens a step.

    Line by line a small batch is best on a CPU, because it has less padding, and a large one on
    a GPU, because one row in it is less work than starting its kernels.
    """
    if name != "trainer_line_by_line":
        return ROWS, work.accumulation
    mean = statistics.mean(len(example["input_ids"]) for example in examples)
    per_device = 128 if torch.cuda.is_available() else ROWS
    return per_device, max(1, round(work.tokens / mean / per_device))


def make_clock(trainer_class: Any) -> Any:
    """The Trainer class with a count of real tokens and the time of every step's end."""
    from transformers import TrainerCallback

    class Ends(TrainerCallback):
        def __init__(self, trainer: Any) -> None:
            self.trainer = trainer

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.trainer.ends.append((time.perf_counter(), int(self.trainer.tokens)))

    class Clock(trainer_class):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.tokens: Any = 0
            self.ends: list[tuple[float, int]] = []
            self.add_callback(Ends(self))

        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            self.tokens = self.tokens + inputs["attention_mask"].sum()
            return super().training_step(model, inputs, *args, **kwargs)

    return Clock


# --------------------------------------------------------------------------------- report


def print_table(work: Work, results: dict[str, Result]) -> None:
    """Show speeds, and how many times faster wholeword is."""
    ours = results["wholeword"].value
    lines = [["wholeword", f"{ours:,.0f}", "", ""]]
    for name in PEERS:
        if name in results:
            speed = results[name].value
            lines.append([name, f"{speed:,.0f}", f"{ours / speed:.2f}x", f"{GOALS[name]}x"])
    lines.append(["MFU of wholeword", f"{results['mfu'].value:.1%}", "", "45%"])
    show(
        f"{work.model}, {work.tokens:,} tokens a step, {work.steps} steps",
        ["", "real tokens/s", "wholeword is", "goal (CPU)"],
        lines,
        ["real tokens: special tokens count, padding does not"],
    )


def measure(work: Work, peers: list[str]) -> dict[str, Result]:
    """Run every contender, one after the other."""
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        own = run_wholeword(work, Path(folder) / "run")
    results = {
        "wholeword": Result(own["tokens_per_second"], "tokens/s", threads),
        "mfu": Result(own["mfu"], "share", threads),
    }
    for name in peers:
        with tempfile.TemporaryDirectory() as folder:
            speed = run_peer(name, work, Path(folder))["tokens_per_second"]
        results[name] = Result(speed, "tokens/s", threads)
        print(f"{name}: {speed:,.0f} real tokens/s", file=sys.stderr, flush=True)
    return results


def build_reviews(folder: Path, *options: str, checkout: Path = ROOT) -> Path:
    """Build shards of the product reviews with the vocabulary of the Chinese BERT."""
    from transformers import BertTokenizerFast

    from scripts.fetch_corpora import fetch

    # Not splitlines: one entry is a line separator of Unicode.
    entries = fetch("chinese_vocab").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    BertTokenizerFast(vocab=vocabulary).save_pretrained(folder / "tokenizer")
    command = [
        *(sys.executable, "-m", "preprocess", "build-shards", "--output", str(folder / "shards")),
        *("--tokenizer", str(folder / "tokenizer"), "--input", str(fetch("reviews.txt"))),
        *options,
    ]
    subprocess.run(command, cwd=checkout, check=True, stdout=sys.stderr)
    return folder / "shards"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="shards; default: build them of the reviews")
    parser.add_argument("--model", default="bert-base", help="a preset")
    parser.add_argument("--accumulation", type=int, default=8, help="micro-batches of a step")
    parser.add_argument("--steps", type=int, default=2, help="steps on the clock")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--json", type=Path, help="where to write the results")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peers and importlib.util.find_spec("accelerate") is None:
        parser.exit(
            1,
            "error: the peers are the Hugging Face Trainer, which needs accelerate; "
            "pip install accelerate, or measure wholeword alone with --peers and no name\n",
        )
    return options


def main() -> None:
    """Run the benchmark, or one peer of it."""
    options = parse()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault(
        "GOMP_SPINCOUNT", "1000"
    )  # as train/pretrain.py; the peers gain from it too
    with tempfile.TemporaryDirectory() as folder:
        data = options.data.resolve() if options.data else build_reviews(Path(folder))
        work = Work(data, options.model, options.accumulation, options.steps)
        if options.peer:
            options.json.write_text(json.dumps(train_peer(options.peer, work)))
            return
        results = measure(work, options.peers)
    write_json(options.json, "training", results)
    print_table(work, results)


if __name__ == "__main__":
    main()
