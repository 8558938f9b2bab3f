"""What a comparison says in words, from numbers made up for it."""

from train.report.comparison_text import Cut, notes_of, sentences_of


def difference(model, baseline, labels, accuracy, low, high):
    verdict = "better" if low > 0 else "worse" if high < 0 else "not distinguishable"
    return {
        "model": model, "baseline": baseline, "labels": labels,
        "accuracy": accuracy, "low": low, "high": high, "verdict": verdict,
    }  # fmt: skip


LENGTHS = {
    "a": Cut(12, 128, 0.0), "b": Cut(12, 128, 0.0), "c": Cut(0, 128, 0.0), "d": Cut(12, 16, 0.64),
}  # fmt: skip


def report():
    names = ("old", "new", "n-grams")
    result = {"best_step": 10, "planned_steps": 10}
    return {
        "task": {"kind": "classification", "empty": 4},
        "splits": {
            "train": 600,
            "validation": 100,
            "test": 200,
            "copies": 1200,
            "contradictions": 7,
            "in_test_file": 3,
            "seen": 2,
        },
        "options": {
            "models": {"old": ["a"], "new": ["b", "c"]},
            "seeds": 2,
            "learning_rates": [1e-5, 1e-4, 1e-3],
        },
        "summary": [
            {
                "model": name,
                "labels": labels,
                "learning_rate": None if name == "n-grams" else 1e-3,
                "constant_runs": 2 if (name, labels) == ("new", 100) else 0,
            }
            for labels in (100, 1000)
            for name in names
        ],
        "results": [{"model": "new", "labels": 100, **result}] * 3
        + [{"model": "new", "labels": 100, "best_step": 5, "planned_steps": 10}],
        "differences": [
            difference("new", "old", 100, 0.018, 0.004, 0.031),
            difference("old", "n-grams", 100, 0.05, 0.03, 0.07),
            difference("new", "n-grams", 100, 0.07, 0.05, 0.09),
            difference("new", "old", 1000, -0.002, -0.009, 0.005),
            difference("old", "n-grams", 1000, -0.03, -0.04, -0.02),
            difference("new", "n-grams", 1000, 0.001, -0.01, 0.01),
        ],
    }


def test_sentences_say_what_is_shown_and_what_is_not():
    assert sentences_of(report()) == [
        "new against old: better with 100 labels, by 1.8 points of accuracy [0.4, 3.1]; with "
        "1,000 labels (-0.20 [-0.90, +0.50]) the interval holds 0: nothing is shown.",
        "old is above the floor (n-grams) with 100 labels; below the floor (n-grams) with 1,000 "
        "labels, so that differences there say little about pretraining.",
        "new is above the floor (n-grams) with 100 labels; not shown to differ from the floor "
        "(n-grams) with 1,000 labels.",
    ]


def test_a_loss_is_said_in_points_with_its_interval_turned_round():
    made = report()
    made["differences"][0] = difference("new", "old", 100, -0.02, -0.03, -0.01)
    assert "worse with 100 labels, by 2.0 points of accuracy [1.0, 3.0]" in sentences_of(made)[0]


def test_notes_say_what_weakens_the_numbers():
    notes = "\n".join(notes_of(report(), LENGTHS))
    for words in (
        "4 examples without a text were left out.",
        "1,200 copies of other texts were left out, 7 of them with another label.",
        "3 training texts stand in the test file",
        "2 test texts stand in the shards",
        "12 of 900 texts are longer than 128 tokens, and were cut for a and b (--max-length).",
        "cut for d (--max-length); 64% of the test tags stand behind, and count as wrong.",
        "One label is all that was predicted: new with 100 labels (2 of 4 runs).",
        "do not cover the luck of pretraining: old is one model",
        "fewer than 3 fine-tuning seeds",
        "The rate 0.001 is the greatest that was tried",
        "Still getting better at the last step: new with 100 labels (3 of 4 runs)",
    ):
        assert words in notes
