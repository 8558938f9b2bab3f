"""Any command line of `python -m train` ends in success or in one line."""

import json
import shlex
import shutil

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertForMaskedLM, BertModel

import preprocess.cli
from preprocess.command_line import ELSEWHERE
from tests.preprocess.support import invoke
from tests.train import runs
from train.cli import app

GROUP = typer.main.get_command(app)
_word = st.one_of(
    st.text(max_size=8),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
    st.sampled_from(["", ".", "/", "auto", "wwm", "span", "x" * 300, "*", "a:b", "\udcff"]),
)
_VALUES = {
    "evaluate": [
        "--model",
        "--data",
        "--part",
        "--masking",
        "--mlm-probability",
        "--seed",
        "--batch-size",
    ],
    "predict": ["--input", "--output", "--model", "--segmenter", "--mlm-probability", "--seed"],
    "preview": ["--data", "--rows", "--masking", "--mlm-probability", "--seed"],
}


@st.composite
def _command_lines(draw: st.DrawFn) -> list[str]:
    command = draw(st.sampled_from(sorted(_VALUES)))
    words = [command]
    for option in draw(st.lists(st.sampled_from(_VALUES[command]), max_size=2)):
        words += [option, draw(_word)]
    return words + draw(st.sampled_from([[]] * 9 + [["-h"], ["more"], ["--json"]]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shards, a tiny model, and a text, where the commands look for them."""
    folder = tmp_path_factory.mktemp("commands")
    runs.make_data(folder / "shards")
    config = BertConfig(
        vocab_size=8000, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8, max_position_embeddings=32,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder / "model")
    for file in (folder / "shards" / "tokenizer").iterdir():
        (folder / "model" / file.name).write_bytes(file.read_bytes())
    (folder / "in.txt").write_text("天下大势，分久必合。\n")
    return folder


@settings(max_examples=80)
@given(_command_lines())
def test_any_command_line_ends_in_success_or_one_line(folder, words):
    command, *options = words
    defaults = {"predict": ["--input", "in.txt", "--output", "out.csv"]}.get(command, [])
    if command != "preview":
        defaults = [*defaults, "--model", "model"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = invoke(command, *defaults, *options, app=app)
    assert done.status in (0, 1, 2), done
    assert "Traceback" not in done.errors
    if done.status == 1:
        done.assert_one_line()


@pytest.mark.parametrize("name", list(GROUP.commands))
def test_a_help_page_fits_and_its_examples_are_command_lines(monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "80")
    command = GROUP.commands[name]
    page, examples = invoke(name, "--help", app=app).output.split("Examples:")
    assert max(map(len, page.splitlines())) <= 80 and "…" not in page
    flags = {flag for option in command.params for flag in option.opts}
    assert {flag for flags in command.panels.values() for flag in flags} <= flags
    lines = examples.replace("\\\n", " ").strip().splitlines()
    for words in map(shlex.split, lines):
        assert words[:4] == ["python", "-m", "train", name]
        command.make_context(name, words[4:])


def test_what_the_other_package_does_is_named():
    done = invoke("pretrain", app=app)
    assert done.status == 2 and "it is `deepspeed train/pretrain.py" in done.errors
    done = invoke("compare", "--model_name_or_path", "x", app=app)
    assert done.status == 2 and "--model_name_or_path: here it is train/pretrain.py --model" in (
        done.errors
    )
    own = preprocess.cli.app
    for name, command in ELSEWHERE.items():
        words = command.split()
        if words[:2] == ["python", "-m"]:
            group = GROUP if words[2] == "train" else typer.main.get_command(own)
            assert name == words[3] and name in group.commands


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "--input", "in.txt", "--output", "out.csv"],
        ["predict", "--input", "in.txt", "--output", "out.csv", "--model", "../runs/nosuch"],
        ["evaluate", "--data", "shards"],
        ["evaluate", "--data", "shards", "--model", "../runs/nosuch"],
        ["average", "../runs/nosuch", "--output", "mean"],
        ["average", "model", "--interpolate", "../runs/nosuch", "--output", "mean"],
        ["compare", "--task", "task.jsonl", "--models", "random:../runs/nosuch"],
        ["compare", "--task", "task.jsonl", "--models", "model", "--tokenizer", "../runs/nosuch"],
    ],
)
def test_a_folder_that_is_not_there_is_said_to_be_missing(folder, monkeypatch, words):
    monkeypatch.chdir(folder)
    rows = [{"text": f"text {i} {'ab'[i % 2]}", "label": "ab"[i % 2]} for i in range(60)]
    (folder / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    missing = "../runs/nosuch" if "nosuch" in " ".join(words) else "runs/default/final"
    done = invoke(*words, app=app)
    done.assert_one_line(f"error: {missing}: no such folder; ")
    if words[0] in ("predict", "evaluate"):
        done.assert_one_line("give --model")


def test_rows_and_lines_are_limited(folder, tmp_path):
    scored = [
        json.loads(invoke(*words, "--json", app=app).output)["masked"]
        for words in (
            ["evaluate", "--model", folder / "model", "--data", folder / "shards", *few]
            for few in ([], ["--max-rows", "2"])
        )
    ]
    assert 0 < scored[1] < scored[0] / 2
    (tmp_path / "in.txt").write_text("天下大势。\n" * 3)
    words = ["predict", "--model", folder / "model", "--input", tmp_path / "in.txt"]
    done = invoke(*words, "--output", tmp_path / "out.csv", "--max-rows", "2", app=app)
    assert "2 of 3 lines" in done.output
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + 2


def test_a_configuration_without_weights_is_not_scored(folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "model" / "config.json").read_bytes())
    done = invoke("evaluate", "--model", tmp_path, "--data", folder / "shards", app=app)
    done.assert_one_line(f"{tmp_path}: has a config.json and no weights; give RUN/final")


def test_damaged_weights_are_named_by_every_command(folder, tmp_path):
    shutil.copytree(folder / "model", model := tmp_path / "model")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    for words in (
        ["evaluate", "--data", folder / "shards", "--model", model],
        ["predict", "--input", folder / "in.txt", "--output", tmp_path / "out", "--model", model],
        ["average", model, "--output", tmp_path / "out"],
    ):
        said = f"{weights}: is damaged or incomplete"
        invoke(*words, app=app).assert_one_line(said, "copy it again")


def test_lines_without_tokens_have_nothing_to_fill_in(folder, tmp_path):
    (tmp_path / "in.txt").write_text("\u200b\n")  # no white space, and nothing to a tokenizer
    words = ["predict", "--model", folder / "model", "--input", tmp_path / "in.txt"]
    done = invoke(*words, "--output", tmp_path / "out.csv", app=app)
    assert done.status == 0, done
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + 1


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_a_model_without_a_head_is_not_scored_in_silence(folder, tmp_path, kind):
    shutil.copytree(folder / "model", tmp_path / "model")
    config = BertConfig.from_pretrained(folder / "model")
    kind(config).save_pretrained(tmp_path / "model")
    evaluate = ["evaluate", "--data", folder / "shards", "--max-rows", "2"]
    predict = ["predict", "--input", folder / "in.txt", "--output", tmp_path / "out.csv"]
    for words in (evaluate, predict):
        done = invoke(*words, "--model", tmp_path / "model", app=app)
        assert done.status == 0, done
        said = f"warning: {tmp_path / 'model'}: has no masked-LM head"
        assert done.errors.startswith(said) == (kind is BertModel), done
