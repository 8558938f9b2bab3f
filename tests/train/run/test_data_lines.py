"""What a run says of its data before it begins."""

import pytest

from tests.train.shard_factory import ShardSpec, make_shards
from train.data.mixture import Mixture
from train.data.shard_dataset import ShardDataset
from train.data.windows import LoaderOptions
from train.options import parse
from train.run.data_lines import few_masked, mixture_lines

LOADER = LoaderOptions(micro_batch_size=2, max_length=32, accumulation=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shards of full rows: a and b, and c without validation rows."""
    folder = tmp_path_factory.mktemp("data-lines")
    for name, rows in (("a", (40,)), ("b", (80,)), ("c", (4,))):
        make_shards(folder / name, ShardSpec(rows=rows, max_length=32, lengths=(30,)))
    return folder


def said(folder, names, *words, scored=("validation",), steps=20):
    paths = [str(folder / name) for name in names]
    options = parse(["--data", *paths, *words])
    datasets = tuple(ShardDataset(folder / name, "train") for name in names)
    weights = options.data.data_weights or [float(dataset.tokens) for dataset in datasets]
    mixture = Mixture(datasets, tuple(weights))
    lines = mixture_lines(options, mixture, dict.fromkeys(scored), LOADER, range(steps))
    return [line.replace(f"{folder}/", "") for line in lines]


def test_a_mixture_is_said_and_whose_rows_are_scored(folder):
    """80 packs of 64 tokens: 3,840 of a, which has 40 rows of 32, and 1,280 of b, which has 80."""
    mixture, validation = said(folder, "ab", "--data-weights", "3", "1")
    assert mixture == (
        "mixture: a 75.0% of the tokens, read 3.00 times; b 25.0% of the tokens, read 0.50 times"
    )
    start, end = "validation: the rows of a alone, the first --data; ", "NAME=b)"
    assert validation == f"{start}those of b are not scored (--validation-data {end}"
    assert said(folder, "ab")[0].startswith("mixture: a 33.3% of the tokens, read 1.33 times; b 66")


@pytest.mark.parametrize(
    ("names", "other", "scored", "lines"),
    [
        ("a", "", ["validation"], []),
        ("ac", "", ["validation"], ["validation: the rows of a alone, the first --data"]),
        ("ca", "", [], ["validation: those of a are not scored (--validation-data NAME=a)"]),
        ("ca", "a", ["law"], []),
        ("ab", "b", ["validation", "law"], ["validation: the rows of a alone, the first --data"]),
    ],
)
def test_rows_that_nobody_scores_are_named(folder, names, other, scored, lines):
    words = ["--validation-data", f"law={folder / other}"] if other else []
    assert said(folder, names, *words, scored=scored)[1:] == lines


def test_without_validation_nothing_is_said_of_it(folder):
    assert len(said(folder, "ab", "--eval-steps", "0", scored=[])) == 1


def warned(folder, *words):
    """The warning about 16 rows of 30 tokens under the name law, before others of no account."""
    rows = {"law": ShardDataset(folder / "b", "validation"), "other": None}
    return list(few_masked(parse(list(words)), rows))


def test_a_validation_of_few_masked_tokens_is_said_with_its_error(folder):
    """480 tokens: 72 are masked of 15%, and 3 / sqrt(72) is 0.35; half of the rows have 36."""
    law = "law loss rests on about"
    assert warned(folder) == [
        f"{law} 72 masked tokens, too few to tell models apart (its standard error is about 0.4); "
        "build shards with a larger --validation-fraction, or more text in --validation-input"
    ]
    assert warned(folder, "--mlm-probability", "0.15:0.3")[0].startswith(f"{law} 144 masked")
    (line,) = warned(folder, "--max-eval-rows", "8")
    assert line.startswith(f"{law} 36 masked") and line.endswith(
        "0.5); give a larger --max-eval-rows"
    )
    assert list(few_masked(parse([]), {})) == []


@pytest.mark.parametrize(("tokens", "lines"), [(6660, 1), (6670, 0)])
def test_a_thousand_masked_tokens_are_enough(tmp_path, tokens, lines):
    spec = ShardSpec(rows=(tokens // 2,), max_length=32, lengths=(10,))
    make_shards(tmp_path, spec)
    rows = ShardDataset(tmp_path, "validation")
    assert rows.manifest.parts["validation"].tokens == tokens
    assert len(list(few_masked(parse([]), {"validation": rows}))) == lines
