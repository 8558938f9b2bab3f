"""Moves a state from every ZeRO stage to every other, with DeepSpeed, on one rank.

    python -m tests.train.stage_matrix FOLDER

Prints {"fp32 0 -> 1": [[losses as moved], [losses as never stopped]], ...} as its last line.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import deepspeed
import torch
from torch import Tensor, nn

from train.engine import checkpoint, universal
from train.engine.checkpoint import RunProgress, Saver
from train.engine.optimizer import parameter_groups
from train.engine.precision import allow_fp16_on_cpu, let_scale_stay_at_minimum
from train.engine.process_group import process_group

STAGES = {
    "fp32": (0, 1, 2, 3),
    "bf16": (1, 2, 3),
    "fp16": (1, 2, 3),  # two of the first four steps overflow
    "fp16, all skipped": (1, 2, 3),
}
SCALES = {"fp16": 17, "fp16, all skipped": 30}  # powers of two
STEPS = 4  # before a state moves, and after
WORDS, WIDTH = 11, 7  # no multiples of anything: ZeRO has to pad


class Model(nn.Module):
    """What a masked language model has: tied embeddings, a norm, biases."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(WORDS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.decoder = nn.Linear(WIDTH, WORDS)
        self.decoder.weight = self.embeddings.weight

    def forward(self, ids: Tensor) -> Tensor:
        logits = self.decoder(self.norm(self.embeddings(ids)))
        return nn.functional.cross_entropy(logits.float(), (ids + 1) % WORDS)


def start(stage: int, precision: str) -> tuple[Any, nn.Module]:
    torch.manual_seed(0)
    model = Model()
    params = {"lr": 0.05, "weight_decay": 0.5, "torch_adam": True, "fused": True}
    config = {
        "train_batch_size": 1,
        "optimizer": {"type": "AdamW", "params": params},
        "zero_optimization": {"stage": stage},
        "bf16": {"enabled": precision == "bf16"},
        "fp16": {
            "enabled": precision in SCALES,
            "initial_scale_power": SCALES.get(precision, 0),
            "hysteresis": 1,
        },
        "gradient_clipping": 1.0,
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
    }
    groups = parameter_groups(model, 0.5)
    engine = deepspeed.initialize(model=model, model_parameters=groups, config=config)[0]
    let_scale_stay_at_minimum(engine)
    return engine, model


def train(engine: Any, first: int) -> list[float]:
    losses = []
    for step in range(first, first + STEPS):
        loss = engine(torch.arange(step, step + 5) % WORDS)
        engine.backward(loss)
        engine.step()
        losses.append(float(loss))
    scale = engine.optimizer.cur_scale if engine.fp16_enabled() else 1
    return [*losses, engine.global_steps, engine.skipped_steps, scale]


def progress(stage: int) -> RunProgress:
    return RunProgress(
        step=STEPS,
        epoch=0,
        cursor={},
        best_loss=None,
        evaluations_since_best=0,
        world_size=1,
        stage=stage,
        precision="",
        settings={},
    )


def main(folder: Path) -> dict[str, list[list[float]]]:
    found = {}
    os.environ["WHOLEWORD_CPU_FP16"] = "1"
    allow_fp16_on_cpu()
    with process_group() as ranks:
        for precision, stages in STAGES.items():
            for was in stages:
                engine, _ = start(was, precision)
                train(engine, 0)
                side = folder / f"{precision}-{was} (a+[b]) *"  # a pattern, to who takes it for one
                with Saver(side, 0, ranks) as saver:
                    saver.save(engine, progress(was))
                saved = checkpoint.checkpoints(side)[0]
                expected = train(engine, STEPS)
                for now in set(stages) - {was}:
                    engine, model = start(now, precision)
                    universal.load(engine, model, saved, side, (was, now), ranks)
                    moved = train(engine, STEPS)
                    found[f"{precision} {was} -> {now}"] = [moved, expected]
                assert [path.name for path in side.iterdir()] == [saved.name]
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
