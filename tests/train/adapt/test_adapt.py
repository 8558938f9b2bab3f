"""The whole chain on a tiny model; its commands are real, started in processes that are loaded."""

import json
import shutil
import subprocess

import pytest
from datasets import load_from_disk
from transformers import AutoTokenizer, GPT2Config, GPT2Model

from preprocess.errors import WholewordError
from tests.preprocess import support
from tests.preprocess.support import invoke
from tests.train import preloaded, runs
from tests.train.evaluate.test_compare import make_model, sentences, write_rows
from train.adapt import commands
from train.adapt.chain import _schedule
from train.adapt.corpus import write_corpus
from train.adapt.options import AdaptOptions
from train.cli import app
from train.evaluate.splits import make_split
from train.evaluate.task_file import read_task


@pytest.fixture(scope="module", autouse=True)
def fast_start():
    """Run commands in forks of a process that has loaded torch; note them."""
    given = []

    def call(words, env):
        given.append(words)
        if "preprocess" in words:
            return subprocess.call(words, env=env, stdout=subprocess.DEVNULL)
        return preloaded.run(words, runs.environment()).returncode

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "call", call)
        yield given


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A task, more text of its domain, other text, and a model."""
    folder = tmp_path_factory.mktemp("adapt")
    write_rows(folder / "task.jsonl", sentences(300))
    for name in ("more", "general"):
        rows = sentences(150, seed=len(name))
        (folder / f"{name}.txt").write_text("".join(f"{row['text']}\n" for row in rows))
    make_model(folder / "model", 0)
    return folder


def adapt(place, output, *words):
    options = ("--task", place / "task.jsonl", "--model", place / "model", "--output", output)
    given = ("--labels", "40", "--seeds", 1, "--masking", "tokens", "--passes", 2)
    return invoke("adapt", *options, *given, "--max-length", 32, *words, app=app)


@pytest.fixture(scope="module")
def adapted(place, fast_start):
    output = place / "adapted"
    texts = ("--text", place / "more.txt", "--general", place / "general.txt")
    done = adapt(place, output, *texts)
    assert done.status == 0, done.output
    return output, done


def test_the_chain_ends_in_a_sentence_with_a_path(place, adapted):
    output, done = adapted
    found = json.loads((output / "adapt.json").read_text())
    assert found["sentence"] in done.output
    assert found["path"] in (str(place / "model"), str(output / "runs" / "tokens-1" / "best"))
    assert {row["text"] for row in found["masked_losses"]} == {"domain", "general"}
    assert all(row["after"] <= row["before"] for row in found["masked_losses"][:1])
    report = json.loads((output / "report" / "report.json").read_text())
    assert [line["model"] for line in report["summary"]] == ["before", "tokens", "n-grams"]
    assert (output / "report" / "report.html").exists()
    assert "2 passes over" in done.output and "learning rate 0.0001" in done.output


def test_no_text_of_the_test_part_is_pretrained_on(place, adapted):
    task = read_task(place / "task.jsonl")
    tokenizer = AutoTokenizer.from_pretrained(support.TOKENIZER)
    split = make_split(task)
    rows = load_from_disk(str(adapted[0] / "shards"))["train"]["input_ids"]
    read = {tuple(row) for row in rows}

    def ids(row):
        return tuple(tokenizer(task.texts[row], add_special_tokens=False)["input_ids"])

    assert all(ids(row) in read for row in split.train)
    assert not any(ids(row) in read for row in split.test)


def test_a_second_command_repeats_nothing(place, adapted, fast_start):
    before = (adapted[0] / "adapt.json").read_bytes()
    times = {path: path.stat().st_mtime_ns for path in adapted[0].glob("runs/*/best/*")}
    texts = ("--text", place / "more.txt", "--general", place / "general.txt")
    assert adapt(place, adapted[0], *texts).status == 0
    assert (adapted[0] / "adapt.json").read_bytes() == before
    assert times == {path: path.stat().st_mtime_ns for path in adapted[0].glob("runs/*/best/*")}


def test_a_pretraining_that_was_stopped_is_not_compared(place, adapted, tmp_path, monkeypatch):
    """As SIGTERM to it alone does: it saves, and exits with 0."""
    shutil.copytree(adapted[0], tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "runs" / "tokens-1" / "final")
    monkeypatch.setattr(commands, "call", lambda *args, **kwargs: 0)
    texts = ("--text", place / "more.txt", "--general", place / "general.txt")
    adapt(place, tmp_path / "out", *texts).assert_one_line(
        "runs/tokens-1: this pretraining was stopped before its end; run the same command again"
    )


def test_a_text_that_holds_the_test_part_is_refused_before_the_pretraining(place, tmp_path):
    done = adapt(place, tmp_path, "--text", place / "task.jsonl")
    assert done.status == 1 and "every test text stands in the shards" in done.errors
    assert not (tmp_path / "runs").exists()


def test_another_adaptation_in_the_same_folder_is_refused(place, adapted):
    done = adapt(place, adapted[0])
    assert done.status == 1
    assert "holds an adaptation with other text" in done.errors
    assert "choose another --output" in done.errors


def test_a_task_whose_texts_have_changed_is_another(place, tmp_path):
    for number in (301, 302):
        write_rows(tmp_path / "task.jsonl", sentences(300, seed=number))
        options = ("--task", tmp_path / "task.jsonl", "--model", place / "model", "--labels", 40)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(commands, "call", lambda *args, **kwargs: 1)
            done = invoke("adapt", *options, "--output", tmp_path / "out", app=app)
        assert done.status == 1
        assert ("with other task content" in done.errors) == (number == 302)


@pytest.mark.parametrize(
    ("content", "said"), [("[1]", "holds other files"), ("not JSON", "cannot be used")]
)
def test_a_damaged_note_of_whose_a_folder_is_is_one_line(place, tmp_path, content, said):
    (tmp_path / "options.json").write_text(content)
    adapt(place, tmp_path).assert_one_line(said, "choose another --output")


def test_transductive_text_holds_the_test_part(place, tmp_path):
    task = read_task(place / "task.jsonl")
    split = make_split(task)
    training, validation = write_corpus(task, split, tmp_path, transductive=True)
    assert len(training.read_text().splitlines()) == len(split.train) + len(split.test)
    training, validation = write_corpus(task, split, tmp_path, transductive=False)
    assert len(training.read_text().splitlines()) == len(split.train)
    assert len(validation.read_text().splitlines()) == len(split.validation)


@pytest.mark.parametrize(
    "words, line",
    [
        (("--masking", "all"), "--masking all: unknown; write words, tokens or both"),
        (("--learning-rate", 2), "--learning-rate 2: not a rate; write such as 1e-4"),
        (("--model", "/no/such"), "/no/such: no such folder; give a model's folder or a hub id"),
    ],
)
def test_bad_options_are_one_line(place, tmp_path, words, line):
    options = {"--task": place / "task.jsonl", "--model": place / "model", "--output": tmp_path}
    options |= dict([words])
    done = invoke("adapt", *(word for pair in options.items() for word in pair), app=app)
    assert done.status == 1 and line in done.errors


@pytest.mark.parametrize("labels", ["40,1000", "40, many"])
def test_labels_that_the_comparison_would_refuse_are_refused_before_any_work(
    place, tmp_path, monkeypatch, labels
):
    given = []
    monkeypatch.setattr(commands, "call", lambda words, env: given.append(words) or 1)
    options = ("--task", place / "task.jsonl", "--model", place / "model")
    done = invoke("adapt", *options, "--output", tmp_path / "out", "--labels", labels, app=app)
    done.assert_one_line(f"--labels {labels[3:].strip()}: ")
    assert not given and not (tmp_path / "out").exists()


def test_a_failed_command_names_itself_and_continues_later(place, tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "call", lambda *args, **kwargs: 1)
    done = adapt(place, tmp_path / "out")
    assert done.status == 1
    assert "python -m preprocess build-shards ... has failed" in done.errors


def test_a_config_alone_begins_from_nothing(place, tmp_path, monkeypatch):
    """Up to the pretraining, which is told to fail: its command and its schedule are a preset's."""
    given = []

    def call(words, env):
        given.append([str(word) for word in words])
        alone = ["--workers", "1"] * ("build-shards" in words)
        return invoke(*words[4:], *alone).status if "preprocess" in words else 1

    monkeypatch.setattr(commands, "call", call)
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(place / "model" / "config.json", folder)
    done = adapt(place, tmp_path / "out", "--model", folder)
    assert done.status == 1 and "train/pretrain.py" in done.errors
    vocabulary, build, pretrain = given
    assert vocabulary[4] == "train-vocab"  # it has no tokenizer
    assert build[build.index("--tokenizer") + 1] == str(tmp_path / "out" / "tokenizer")
    assert pretrain[pretrain.index("--model") + 1] == str(folder)
    assert "learning rate 0.002" in done.output  # new and narrow
    options = AdaptOptions(place / "task.jsonl", str(folder), tmp_path / "out")
    assert commands.before(options) == f"random:{folder}"


def test_a_model_that_is_no_masked_one_is_one_line(adapted, tmp_path):
    GPT2Model(GPT2Config(n_embd=8, n_layer=1, n_head=1)).save_pretrained(tmp_path)
    options = AdaptOptions(tmp_path / "task.jsonl", str(tmp_path), tmp_path)
    with pytest.raises(WholewordError, match="cannot be loaded as a masked language model"):
        _schedule(options, adapted[0] / "shards")


def test_a_folder_named_like_a_preset_is_not_taken_for_it(place, tmp_path, monkeypatch):
    """As by train/pretrain.py, which takes ./bert-tiny for the folder."""
    given = []
    monkeypatch.setattr(commands, "call", lambda words, env: given.append(words) or 1)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(place / "model", "bert-tiny")
    for model, first in (("bert-tiny", "train-vocab"), ("./bert-tiny", "build-shards")):
        adapt(place, tmp_path / first, "--model", model)
        assert given.pop()[4] == first
