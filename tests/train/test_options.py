"""The command line of the trainer."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from preprocess.errors import WholewordError
from train.cli import app
from train.model.presets import check_name
from train.options import parse, parse_overrides, seconds
from train.recipes import RECIPES


def test_defaults_are_those_of_the_contract():
    options = parse([])
    assert (options.data.data, options.model.model) == (["shards"], "bert-small")
    assert (options.run.output_dir, options.run.resume_from_checkpoint) == ("runs/default", "auto")
    assert options.optimization.num_train_epochs == 1
    assert options.given == frozenset()


@pytest.mark.parametrize("spelling", ["--local_rank=1", "--local-rank=1"])
def test_the_launchers_option_has_two_spellings(spelling):
    assert parse([spelling]).run.local_rank == 1


def test_given_names_what_was_said_even_if_it_is_the_default():
    options = parse(["--learning-rate", "1e-4", "--gradient-checkpointing", "--max_steps", "3"])
    assert options.given == {"learning_rate", "gradient_checkpointing", "max_steps"}
    assert options.optimization.gradient_checkpointing


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["--max-steps", "many"],
        ["--learn", "1"],
        ["--max-steps", "-1"],
        ["--learning-rate", "0"],
        ["--learning-rate", "nan"],
        ["--warmup-ratio", "1"],
        ["--mlm-probability", "1.5"],
        ["--mlm-probability", "0.1:0.2:0.3"],
        ["--mask-replace", "0.5:0.1:0.1"],
        ["--masking", "words"],
        ["--save-time", "soon"],
        ["--sentence-order", "--next-sentence"],
        ["--early-stopping-patience", "2", "--eval-steps", "0"],
        ["--logging-steps", "0"],
    ],
)
def test_impossible_command_lines_are_one_line(arguments):
    with pytest.raises(WholewordError) as caught:
        parse(arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["bert-tinny", "bert_base", "Bert-Small", "bert-larg", "modernbert_tiny", "ModernBERT-bse"],
)
def test_what_is_almost_a_preset_is_refused_at_once(name):
    expected = r"neither a preset nor a folder .*; write (modern)?bert-"
    with pytest.raises(WholewordError, match=expected):
        check_name(name)


def test_other_names_of_models_pass(tmp_path, monkeypatch):
    hub = "bert-base-chinese bert-base-cased roberta-base albert-large deberta-base me/bert-tinny"
    for name in hub.split():
        check_name(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bert-tinny").mkdir()
    check_name("bert-tinny")


def test_a_runs_folder_is_no_model(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(WholewordError, match=r"of a run that has not finished; .*/final$"):
        check_name(str(tmp_path))
    (tmp_path / "final").mkdir()
    with pytest.raises(WholewordError, match=r"of a run; its model is .*/final$"):
        check_name(str(tmp_path))
    for command in (["evaluate"], ["predict", "-i", "x", "-o", "y"]):
        result = CliRunner().invoke(app, [*command, "--model", str(tmp_path)])
        assert "its model is" in str(result.exception)


def test_compiling_needs_a_compiler(tmp_path, monkeypatch):
    for name in ("CXX", "CC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WholewordError, match=r"^--torch-compile: there is no C\+\+ compiler; .+"):
        parse(["--torch-compile"])
    (tmp_path / "g++").write_text("")
    (tmp_path / "g++").chmod(0o755)
    assert parse(["--torch-compile"]).optimization.torch_compile


def test_masking_probability_and_replacement():
    data = parse(["--mlm-probability", "0.3:0.15", "--mask-replace", "1,0,0"]).data
    assert data.probabilities == (0.3, 0.15)
    assert data.replacements == (1.0, 0.0, 0.0)
    assert parse(["--mlm-probability", "0.2"]).data.probabilities == (0.2, 0.2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("8h", 28800), ("45m", 2700), ("90s", 90), ("90", 90), ("1h30m", 5400), ("", math.inf)],
)
def test_durations(text, expected):
    assert seconds("--max-train-time", text) == expected


def test_overrides():
    assert parse_overrides("a=1, b = x") == {"a": "1", "b": "x"}
    assert parse_overrides("") == {}
    with pytest.raises(WholewordError, match="not name=value"):
        parse_overrides("hidden_size")


NAMES = ["--model", "--max-steps", "--seed", "--masking", "--precision", "--save-time", "-x", "--"]


@given(st.lists(st.sampled_from(NAMES) | st.text(max_size=6), max_size=5))
def test_any_command_line_is_read_or_refused_in_one_line(arguments):
    try:
        parse(arguments)
    except WholewordError:
        pass
    except SystemExit as end:
        assert end.code == 0 and {"-h", "--help"} & set(arguments)


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["law"], "not NAME=FOLDER"),
        (["law="], "not NAME=FOLDER"),
        (["l/w=x"], "not NAME=FOLDER"),
        (["law=x", "law=y"], "law=y: the name law is taken"),
        (["validation=x"], "the name validation is taken"),
        (["train=x"], "the name train is taken"),
    ],
)
def test_validation_data_needs_names(words, cause):
    with pytest.raises(WholewordError, match=cause):
        parse(["--validation-data", *words])


def test_lists_are_separated_by_spaces_and_add_up():
    words = ["--validation-data", "a=1", "b=2", "--seed", "3", "--validation_data=c=3", "--data=x"]
    options = parse([*words, "--metric-for-best-model", "b"])
    assert options.data.validation_folders == {"a": "1", "b": "2", "c": "3"}
    assert (options.optimization.seed, options.data.data) == (3, ["x"])
    with pytest.raises(WholewordError, match="d: names no validation; there is validation, a, b"):
        parse([*words[:3], "--metric-for-best-model", "d"])


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["--data", "a", "b", "--data-weights", "1"], "give a weight for each --data, 2 in all"),
        (["--data", "a", "b", "--data-weights", "1", "-1"], "must be numbers above 0"),
        (["--data", "a", "b", "--data-weights", "0", "0"], "must be numbers above 0"),
        (["--data", "a", "b", "--data-weights", "nan", "1"], "must be numbers above 0"),
        (["--data", "a", "b", "--data-weights", "1", "inf"], "1 inf: must be numbers above 0"),
        (["--data", "a", "--data=a"], "names a folder twice"),
    ],
)
def test_weights_that_make_no_mixture(words, cause):
    with pytest.raises(WholewordError, match=cause):
        parse(words)


def test_a_recipe_sets_what_the_command_line_does_not():
    options = parse(["--recipe", "tapt", "--learning-rate", "3e-4"])
    o = options.optimization
    assert (o.learning_rate, o.num_train_epochs, o.global_batch_size) == (3e-4, 100, 256)
    assert options.data.mlm_probability == "0.15"
    assert options.recipe_line == (
        "recipe tapt (task-adaptive pretraining, Gururangan et al., 2020): --num-train-epochs 100 "
        "--global-batch-size 256 --lr-scheduler-type linear --warmup-ratio 0.06 "
        "--weight-decay 0.01 --mlm-probability 0.15"
    )
    steps = parse(["--recipe", "tapt", "--max-steps", "9"])
    assert steps.optimization.num_train_epochs == 1
    assert "epochs" not in steps.recipe_line
    assert parse([]).recipe_line == ""
    cut = parse(["--recipe", "tapt", "--gradient-accumulation-steps", "4"])
    assert cut.optimization.global_batch_size == 0 and "batch" not in cut.recipe_line


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_name_options(name):
    options = parse(["--recipe", name])
    for key, value in RECIPES[name].values.items():
        group = options.data if hasattr(options.data, key) else options.optimization
        assert getattr(group, key) == value
