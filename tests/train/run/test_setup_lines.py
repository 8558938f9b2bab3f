"""What a run says of its own length before it begins."""

import pytest

from train.options import parse
from train.run.setup import _warnings


@pytest.mark.parametrize(
    ("words", "steps", "said"),
    [
        (["--recipe", "from-nothing"], 1, "only 1 step: a batch of 4,096 rows is too large"),
        (["--num-train-epochs", "3"], 99, "only 99 steps: a batch of 4,096 rows is too large"),
        (["--num-train-epochs", "3"], 100, None),
        (["--recipe", "tapt", "--max-steps", "5"], 5, None),
    ],
)
def test_a_run_of_very_few_steps_is_told_why(words, steps, said):
    quiet = ["--eval-steps", "1", "--save-steps", "1"]
    lines = list(_warnings(parse([*words, *quiet]), steps, 4096, validated=True, head_steps=0))
    assert len(lines) == (said is not None)
    if said:
        assert lines[0].startswith(said)
        assert "--global-batch-size" in lines[0] and "--num-train-epochs" in lines[0]


def test_one_step_is_one_step():
    options = parse(["--max-steps", "1", "--eval-steps", "500", "--save-steps", "500"])
    lines = list(_warnings(options, 1, 4, validated=True, head_steps=0))
    assert [line.split(", so")[0] for line in lines] == [
        "--eval-steps 500: the run has 1 step",
        "--save-steps 500: the run has 1 step",
    ]


@pytest.mark.parametrize(
    ("words", "head_steps", "said"),
    [
        (["--head-warmup", "0.5"], 0, "--head-warmup 0.5 has no effect: bert-tiny begins from"),
        (["--head-warmup", "0.5", "--model", "a/b"], 0, "effect: a/b lacks no weights, so none"),
        (["--head-warmup", "0.5", "--model", "a/b"], 60, ""),
        (["--head-warmup", "0"], 0, ""),
        ([], 0, ""),
    ],
)
def test_a_head_warmup_without_effect_is_said_where_it_is_given(words, head_steps, said):
    model = [] if "--model" in words else ["--model", "bert-tiny"]
    options = parse([*model, *words, "--eval-steps", "1", "--save-steps", "1"])
    lines = list(_warnings(options, 120, 4, validated=True, head_steps=head_steps))
    assert len(lines) == bool(said) and said in "".join(lines)
