"""What a run has come to, in words."""

import json
import math
from types import SimpleNamespace

import pytest

from train.engine.checkpoint import RunProgress
from train.options import parse
from train.report.log import METRICS
from train.run.finish import _summary, _validations


def ended(folder, loss, *words, rate=1e-4, name="validation"):
    """A run that ends with a loss of the validation that decides; frequencies alone have 6."""
    scores = {"perplexity": 9.0, "accuracy": 0.1, "unigram_loss": 6.0}
    scores |= {"unigram_perplexity": 403.0, "commonest_share": 0.05}
    records = [
        {"step": step, "kind": name, "loss": value, **scores}
        for step, value in ((0, 9.0), (40, loss))
    ]
    (folder / METRICS).write_text("".join(json.dumps(record) + "\n" for record in records))
    return SimpleNamespace(
        folder=folder,
        validators={name: None, "other": None},
        progress=SimpleNamespace(data_step=0, step=40, best_loss=loss),
        total_steps=40,
        options=parse(list(words)),
        plan=SimpleNamespace(learning_rate=rate),
    )


def said(folder, loss, *words, rate=1e-4):
    """The lines about validations at the end of such a run."""
    return _validations(ended(folder, loss, *words, rate=rate))


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


def test_the_lowest_loss_is_called_by_the_name_of_what_decides(tmp_path):
    lines = _summary(ended(tmp_path, 6.5, name="general"), finished=True, kept=True)
    assert lines[1] == f"the lowest general loss, 6.5000: {tmp_path / 'best'}"
    assert lines[3].startswith("general loss is not below that of token frequencies alone")
