"""The last sentence: what is shown, and nothing else."""

from pathlib import Path

import pytest

from train.adapt.conclusion import conclude
from train.adapt.options import AdaptOptions

NAMES = ["words", "tokens"]
BETTER, WORSE, UNCLEAR = (0.04, 0.01, 0.07), (-0.04, -0.07, -0.01), (0.01, -0.02, 0.04)


def conclusion(words, tokens, model="folder", floor=BETTER, kind="classification"):
    """What is said of differences to the model as it was, each of 100 and of 1,000 labels.

    `floor` is what all of them differ by from the n-grams.
    """
    lower = "commonest tags" if kind == "tagging" else "n-grams"
    options = AdaptOptions(task=Path("t.jsonl"), model=model, output=Path("out"))
    verdicts = {BETTER: "better", WORSE: "worse", UNCLEAR: "not distinguishable"}
    differences = [
        {"model": name, "baseline": baseline, "labels": labels, "accuracy": found[0],
         "low": found[1], "high": found[2], "verdict": verdicts[found]}
        for name, both in (("words", words), ("tokens", tokens))
        for baseline in ("before", lower)
        for labels, at in ((100, 0), (1000, 1))
        for found in [both[at] if baseline == "before" else floor]
    ]  # fmt: skip
    return conclude(options, {"task": {"kind": kind}, "differences": differences}, NAMES)


def test_a_gain_names_its_model_and_its_interval():
    made = conclusion((UNCLEAR, UNCLEAR), (BETTER, UNCLEAR))
    assert made["path"] == "out/runs/tokens-1/best"
    wanted = "against folder it gains +4.0 [+1.0, +7.0] points of accuracy with 100 labels."
    assert made["sentence"] == f"Use out/runs/tokens-1/best: {wanted}"


def test_a_gain_below_the_floor_says_so():
    made = conclusion((UNCLEAR, UNCLEAR), (BETTER, UNCLEAR), floor=WORSE)
    assert made["use"] == "tokens"
    said = "N-grams with logistic regression are better still, by 4.0 with 100."
    assert made["sentence"].endswith(f"with 100 labels. {said}")

    made = conclusion((UNCLEAR, UNCLEAR), (BETTER, UNCLEAR), floor=WORSE, kind="tagging")
    assert "The commonest tag of each word is better still, by 4.0" in made["sentence"]


def test_the_greater_mean_gain_is_used():
    assert conclusion((BETTER, BETTER), (BETTER, UNCLEAR))["use"] == "words"
    assert conclusion((BETTER, UNCLEAR), (BETTER, BETTER))["use"] == "tokens"


@pytest.mark.parametrize("found", [(UNCLEAR, UNCLEAR), (BETTER, WORSE), (WORSE, UNCLEAR)])
def test_what_is_not_shown_is_not_advised(found):
    made = conclusion(found, (UNCLEAR, UNCLEAR))
    assert (made["use"], made["path"]) == ("before", "folder")
    assert made["sentence"].startswith("Use folder as it is: no pretraining is shown to gain")
    assert ("words did harm" in made["sentence"]) == (WORSE in found)


def test_weights_drawn_anew_are_no_advice():
    made = conclusion((UNCLEAR, UNCLEAR), (UNCLEAR, UNCLEAR), model="bert-tiny")
    assert made["sentence"].startswith("Use none of them: ")
    assert made["path"] == "random:bert-tiny"
