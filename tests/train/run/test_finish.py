"""What a run has come to, in words."""

import json
import math
from types import SimpleNamespace

import pytest

from train.engine.checkpoint import RunProgress
from train.options import parse
from train.report.log import METRICS
from train.run.finish import _validations


def said(folder, loss, *words, rate=1e-4):
    """The lines about validations of a run that ends with a loss; frequencies alone have 6."""
    scores = {"perplexity": 9.0, "accuracy": 0.1, "unigram_loss": 6.0}
    scores |= {"unigram_perplexity": 403.0, "commonest_share": 0.05}
    records = [
        {"step": step, "kind": "validation", "loss": value, **scores}
        for step, value in ((0, 9.0), (40, loss))
    ]
    (folder / METRICS).write_text("".join(json.dumps(record) + "\n" for record in records))
    run = SimpleNamespace(
        folder=folder,
        validators={"validation": None},
        progress=SimpleNamespace(data_step=0),
        options=parse(list(words)),
        plan=SimpleNamespace(learning_rate=rate),
    )
    return _validations(run)


@pytest.mark.parametrize(
    ("model", "rate", "advice"),
    [
        ("bert-tiny", 1e-4, "a higher --learning-rate (0.002 suits the smallest presets)"),
        ("bert-tiny", 1e-2, "another --learning-rate"),
        ("some/checkpoint", 1e-4, "another --learning-rate"),
    ],
)
def test_a_model_that_has_learnt_nothing_is_not_passed_off_as_one(tmp_path, model, rate, advice):
    for loss in (6.0, 7.5):
        lines = said(tmp_path, loss, "--model", model, rate=rate)
        assert len(lines) == 2
        assert lines[1].startswith(
            "validation loss is not below that of token frequencies alone: the model has learnt "
            "nothing yet"
        )
        assert lines[1].endswith(f"or at {advice}")


def test_a_model_that_has_learnt_something_is_left_alone(tmp_path):
    assert len(said(tmp_path, 5.99, "--model", "bert-tiny")) == 1


def test_a_loss_that_is_not_a_number_is_said_in_words(tmp_path):
    """In fp16 one batch may give that; JSON has no word for it."""
    assert said(tmp_path, None) == [
        "validation loss was not a number at the beginning or at the end; see metrics.jsonl"
    ]
    progress = RunProgress(
        step=0, epoch=0, cursor={}, best_loss=None, evaluations_since_best=0, world_size=1,
        stage=0, precision="fp16", settings={},
    )  # fmt: skip
    assert progress.after_validation(math.nan).best_loss is None
    assert progress.after_validation(math.nan).after_validation(3.0).best_loss == 3.0
