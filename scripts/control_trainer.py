#!/usr/bin/env python
"""The control: the Hugging Face Trainer on the same shards, for as many tokens, steps and rates.

    python scripts/control_trainer.py --data shards --model bert-tiny --output-dir control-1 \
        --max-steps 4163 --learning-rate 2e-3 --per-device-train-batch-size 16 --seed 1

It trains as run_mlm does by default: rows joined and cut into blocks, tokens masked by the collator
of transformers, dropout of the attention included. Optimizer, schedule and precision are those of
train/pretrain.py, so that what differs is the product. The result is a folder as final/ is.
"""

import argparse
import itertools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from datasets import load_from_disk
from transformers import (
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
)

from preprocess.write.manifest import read_manifest
from train.engine.precision import cpu_has_bf16
from train.model.load import load_model
from train.model.shards_vocabulary import shards_vocabulary


def main() -> None:
    """Train, and write the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="shards of build-shards")
    parser.add_argument("--model", default="bert-tiny", help="as for train/pretrain.py")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--max-steps", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--per-device-train-batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    manifest = read_manifest(options.data)
    tokenizer = AutoTokenizer.from_pretrained(options.data / "tokenizer")
    vocabulary = shards_vocabulary(options.data, manifest)
    model = load_model(options.model, vocabulary, seed=options.seed)
    arguments = TrainingArguments(
        output_dir=str(options.output_dir),
        max_steps=options.max_steps,
        per_device_train_batch_size=options.per_device_train_batch_size,
        learning_rate=options.learning_rate,
        warmup_steps=round(0.06 * options.max_steps),
        lr_scheduler_type="linear",
        weight_decay=0.01,
        adam_beta1=0.9,
        adam_beta2=0.98,
        adam_epsilon=1e-6,
        seed=options.seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=cpu_has_bf16() and not torch.cuda.is_available(),
        fp16=torch.cuda.is_available(),
        save_strategy="no",
        logging_steps=200,
        report_to=[],
    )
    Trainer(
        model=model,
        args=arguments,
        train_dataset=blocks(options.data, manifest.max_length),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15),
    ).train()
    model.save_pretrained(options.output_dir / "final")
    tokenizer.save_pretrained(options.output_dir / "final")


def blocks(data: Path, size: int) -> list[dict[str, list[int]]]:
    """The training rows with their special tokens, joined and cut; the remainder is dropped."""
    special = read_manifest(data).tokenizer
    rows = load_from_disk(str(data))["train"]["input_ids"]
    joined = list(
        itertools.chain.from_iterable([*special.prefix, *r, *special.suffix] for r in rows)
    )
    ends = range(size, len(joined) + 1, size)
    return [{"input_ids": joined[end - size : end], "attention_mask": [1] * size} for end in ends]


if __name__ == "__main__":
    main()
