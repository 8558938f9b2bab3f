"""What a run says of its data before it begins."""

import pytest

from tests.train.shard_factory import ShardSpec, make_shards
from train.data.mixture import Mixture
from train.data.shard_dataset import ShardDataset
from train.data.windows import LoaderOptions
from train.options import parse
from train.run.data_lines import mixture_lines

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
