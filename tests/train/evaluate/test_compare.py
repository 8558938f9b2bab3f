"""Whole comparisons of tiny models on easy tasks: the same twice, killed and continued, refused."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, RobertaConfig

from preprocess.command_line import repeat_options
from preprocess.errors import WholewordError
from tests.preprocess import support
from tests.preprocess.support import invoke
from tests.train.shard_factory import ShardSpec, make_shards
from train.cli import app
from train.data.shard_dataset import ShardDataset
from train.evaluate import compare as comparing
from train.evaluate import seen
from train.evaluate.contenders import parse_contenders, room_for_tokens
from train.evaluate.encoded_task import NOT_PREDICTED, encode_task
from train.evaluate.finetune import count_epochs, count_steps
from train.evaluate.floor import predict_floor
from train.evaluate.seen import find_seen
from train.evaluate.splits import make_split
from train.evaluate.task_file import read_task

GOOD, BAD = ("good", "great", "love", "light", "joy"), ("evil", "wrath", "sin", "dark", "death")
FILLERS = ("the", "of", "and", "to", "in", "that", "he", "they", "with", "for", "was", "not", "it")
FAST = ("--seeds", 2, "--learning-rates", "3e-3", "--epochs", 6)


def sentences(count, seed=0):
    """Texts whose label a word or two give away."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        label = rng.choice(("pos", "neg"))
        words = rng.choices(FILLERS, k=rng.randrange(4, 12))
        for word in rng.choices(GOOD if label == "pos" else BAD, k=2):
            words.insert(rng.randrange(len(words)), word)
        rows.append({"text": " ".join(words), "label": label})
    return rows


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_model(folder, seed):
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=8000, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=40, dtype="bfloat16",
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(support.TOKENIZER) / name, folder)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A task, and two models that know nothing."""
    folder = tmp_path_factory.mktemp("compare")
    write_rows(folder / "task.jsonl", sentences(500))
    for seed, name in enumerate("ab"):
        make_model(folder / name, seed)
    shutil.copytree(folder / "a", folder / "odd")
    config = json.loads((folder / "odd" / "config.json").read_text())
    (folder / "odd" / "config.json").write_text(json.dumps(config | {"num_attention_heads": 3}))
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    BertForMaskedLM(BertConfig(vocab_size=50, **small)).save_pretrained(folder / "narrow")
    return folder


def run(place, output, *words, task="task.jsonl"):
    return invoke("compare", "--task", place / task, "--output", output, *words, app=app)


def report_of(output):
    return json.loads((output / "report.json").read_text())


@pytest.fixture(scope="module")
def models(place):
    two = f"two={place / 'a'},{place / 'b'}"
    return ("--models", f"one={place / 'a'}", two, f"random:{place / 'a'}", "--labels", "20,120")


@pytest.fixture(scope="module")
def finished(place, models, tmp_path_factory):
    output = tmp_path_factory.mktemp("finished") / "report"
    done = run(place, output, *models, *FAST)
    assert done.status == 0, done
    return output, done


def test_a_comparison_says_everything(place, finished):
    output, done = finished
    report = report_of(output)
    splits, first = report["splits"], report["results"][0]
    assert (
        f"task.jsonl: train {splits['train']}, validation {splits['validation']}, "
        f"test {splits['test']} texts"
    ) in done.output
    assert (
        f"one, 20 labels, seed 0, rate 0.003: validation accuracy "
        f"{first['validation_accuracy']:.1%}, test accuracy {first['accuracy']:.1%}"
    ) in done.output
    names = ["one", "two", f"random:{place / 'a'}", "n-grams"]
    assert [line["model"] for line in report["summary"]] == names * 2
    runs = {"one": 2, "two": 4, names[2]: 2, "n-grams": 2}
    assert [line["runs"] for line in report["summary"]] == list(runs.values()) * 2
    assert len(report["results"]) == 20 and len(report["sweep"]) == 6
    for line in report["summary"]:
        found = [
            r["accuracy"]
            for r in report["results"]
            if (r["model"], r["labels"]) == (line["model"], line["labels"])
        ]
        assert line["accuracy_mean"] == pytest.approx(np.mean(found))
        assert line["accuracy_sd"] == pytest.approx(np.std(found, ddof=1))
    pairs = [(d["model"], d["baseline"]) for d in report["differences"]]
    assert pairs[:5] == [*((n, "one") for n in names[1:3]), *((n, "n-grams") for n in names[:3])]
    assert all(d["low"] <= d["accuracy"] <= d["high"] for d in report["differences"])
    assert {"task", "splits", "options", "versions"} <= set(report)
    # The task is easy: 120 labels are enough for every contender.
    assert all(line["accuracy_mean"] > 0.85 for line in report["summary"] if line["labels"] == 120)
    for line in report["sentences"]:
        assert line in done.output
    assert "nothing is shown" in done.output
    assert (output / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_needs_no_other_file(finished):
    page = (finished[0] / "report.html").read_text()
    assert "data:image/png;base64," in page and "prefers-color-scheme: dark" in page
    assert "width=device-width" in page and page.count("<source") == 3
    assert "http://" not in page and "https://" not in page and 'src="/' not in page
    assert page.index("two against one") < page.index("<img") < page.index("<table")


def test_predictions_are_those_of_the_accuracies(finished):
    output, _ = finished
    truth = [json.loads(line)["label"] for line in (output / "test.jsonl").open()]
    results = report_of(output)["results"]
    lines = [json.loads(line) for line in (output / "predictions.jsonl").open()]
    assert len(lines) == len(results)
    for line, result in zip(lines, results, strict=True):
        assert (line["model"], line["seed"]) == (result["model"], result["seed"])
        hits = [a == b for a, b in zip(line["predictions"], truth, strict=True)]
        assert np.mean(hits) == pytest.approx(result["accuracy"])


def test_a_finished_one_says_so_and_json_is_the_report(place, models, finished, monkeypatch):
    output, _ = finished
    monkeypatch.setattr(comparing, "fine_tune", None)
    again = run(place, output, *models, *FAST)
    assert again.status == 0 and "this comparison is finished" in again.output
    printed = run(place, output, *models, *FAST, "--json")
    assert json.loads(printed.output) == report_of(output)


def test_killed_and_continued_it_is_the_undisturbed_one(
    place, models, finished, tmp_path, monkeypatch
):
    real, calls = comparing.fine_tune, []

    def stop_at_fourth(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise WholewordError("stopped")  # as good as a kill: what is stored is on disk
        return real(*args, **kwargs)

    monkeypatch.setattr(comparing, "fine_tune", stop_at_fourth)
    output = tmp_path / "report"
    assert run(place, output, *models, *FAST).status == 1
    assert not (output / "report.json").exists()
    stored = sorted((output / "runs").iterdir())
    assert len(stored) == 3
    stored[0].write_text("{")  # cut short: made again
    assert run(place, output, *models, *FAST).status == 0
    # 16 fine-tunings; those of `two` whose weights are `one`'s are the same, and stored already.
    assert len(calls) == 4 + 12 - 2
    assert (output / "report.json").read_bytes() == (finished[0] / "report.json").read_bytes()


def test_a_contender_more_repeats_no_fine_tuning(place, models, finished, tmp_path, monkeypatch):
    output, _ = finished
    real, calls = comparing.fine_tune, []

    def count(source, *args, **kwargs):
        calls.append(source.path)
        return real(source, *args, **kwargs)

    monkeypatch.setattr(comparing, "fine_tune", count)
    make_model(tmp_path / "c", 7)
    more = (models[0], f"new={tmp_path / 'c'}", *models[1:-1], "20", *FAST)
    done = run(place, tmp_path / "report", *more, "--reuse", output)
    assert done.status == 0, done
    assert calls == [str(tmp_path / "c")] * 2
    # Those of `two` whose weights are `one`'s are stored already.
    assert "8 of them were taken from --reuse" in done.output
    old, new = report_of(output), report_of(tmp_path / "report")
    assert [r for r in new["results"] if r["model"] != "new"] == [
        r for r in old["results"] if r["labels"] == 20
    ]
    # The new folder needs the old one no longer.
    assert len(list((tmp_path / "report" / "runs").iterdir())) == 10
    run(place, tmp_path / "none", *more, "--reuse", place).assert_one_line(
        f"--reuse {place}: holds no fine-tunings"
    )


def test_another_comparison_is_refused(place, models, finished):
    output, _ = finished
    changed = (*FAST[:-1], 7)
    run(place, output, *models, *changed).assert_one_line("other epochs (6; now 7)", "--output")
    one = ("--models", place / "b", "--labels", "20,120")
    run(place, output, *one, *FAST).assert_one_line("holds a comparison with other models")


def test_pairs_from_a_csv_file_with_a_test_file(place, tmp_path):
    """The label is that of the second text alone."""
    for name, count, seed in (("train", 300, 1), ("test", 60, 2)):
        rows, first = sentences(count, seed), sentences(count, seed + 10)
        lines = [f"{a['text']},{b['text']},{b['label']}" for a, b in zip(first, rows, strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["a,b,gold", *lines]))
    columns = ("--text-column", "a", "--pair-column", "b", "--label-column", "gold")
    words = ("--test", tmp_path / "test.csv", "--models", place / "a", "--labels", "all")
    done = run(tmp_path, tmp_path / "out", *words, *columns, *FAST, task="train.csv")
    assert done.status == 0, done
    report = report_of(tmp_path / "out")
    assert report["task"]["kind"] == "pair" and report["splits"]["test"] == 60
    assert report["summary"][1]["accuracy_mean"] > 0.7


@pytest.fixture
def tagged(tmp_path):
    """Words with the tag that their spelling has; the last word of one sentence is far away."""
    lines = []
    for row in sentences(240, 5):
        words = row["text"].split()
        lines += [f"{w} {'G' if w in GOOD else 'B' if w in BAD else 'O'}" for w in words] + [""]
    path = tmp_path / "task.conll"
    path.write_text("\n".join(lines))
    return path


def test_tags(place, tagged, tmp_path):
    words = ("--models", place / "a", "--labels", "all", "--max-length", 12)
    done = run(tmp_path, tmp_path / "out", *words, *FAST, task=tagged.name)
    assert done.status == 0, done
    report = report_of(tmp_path / "out")
    assert report["task"]["kind"] == "tagging"
    assert report["summary"][1]["accuracy_mean"] == 1.0  # the floor has seen every word
    assert report["summary"][0]["accuracy_mean"] > 0.6
    assert "texts are longer than 12 tokens" in done.output
    assert "of the test tags stand behind, and count as wrong." in done.output
    assert "below the floor (commonest tags)" in done.output
    lowest = report["results"][-1]
    assert (lowest["model"], lowest["validation_loss"]) == ("commonest tags", None)
    test = [json.loads(line) for line in (tmp_path / "out" / "test.jsonl").open()]
    found = json.loads((tmp_path / "out" / "predictions.jsonl").open().readline())["predictions"]
    assert [len(tags) for tags in found] == [len(row["words"]) for row in test]
    assert any(None in tags for tags in found)


def test_words_that_are_cut_off_are_not_predicted(tagged):
    from preprocess.encode.tokenizer import load_tokenizer

    task = read_task(tagged)
    encoded = encode_task(task, load_tokenizer(support.TOKENIZER), 8, False)
    row = max(range(len(task)), key=lambda i: len(task.words[i]))
    found = encoded.read_off(row, np.arange(encoded.lengths[row]))
    kept = [tag for tag in found if tag != NOT_PREDICTED]
    assert len(found) == len(task.words[row]) > len(kept)
    assert found == kept + [NOT_PREDICTED] * (len(found) - len(kept))
    for token, word in zip(kept, encoded.places[row], strict=True):
        assert encoded.targets[row][token] == task.labels[row][word]


def test_test_texts_in_a_model_s_shards_are_left_out(place, tmp_path):
    task = read_task(place / "task.jsonl")
    split = make_split(task)
    known = split.test[:9].tolist()
    long = " ".join(task.texts[i] for i in split.test[9:12])  # part of a longer document: not found
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join([*(f" {task.texts[i]}" for i in known), long, "other"]))
    support.build(tmp_path / "shards", corpus, validation_fraction=0.0, max_length=8)
    assert find_seen(task, split.test, tmp_path / "shards") == set(known)
    words = ("--models", place / "a", "--labels", "20", *FAST, "--seen-in", tmp_path / "shards")
    done = run(place, tmp_path / "out", *words)
    assert done.status == 0, done
    assert report_of(tmp_path / "out")["splits"]["seen"] == 9
    assert "9 test texts stand in the shards" in done.output


def test_documents_are_put_together_across_record_batches(tmp_path):
    rows = make_shards(tmp_path, ShardSpec(rows=(40, 25, 0, 35)))["train"]
    dataset = ShardDataset(tmp_path, "train")
    located = dataset.locate

    def in_documents_of_three(batch):
        found = located(batch)
        documents = (found.first + np.arange(len(found.documents))) // 3
        return type(found)(**{**vars(found), "documents": documents})

    dataset.locate = in_documents_of_three
    flat = [part.ids[a:b] for part in rows for a, b in
            zip(part.offsets[:-1], part.offsets[1:], strict=True)]  # fmt: skip
    whole = [np.concatenate(flat[i : i + 3]) for i in range(0, len(flat), 3)]
    found = list(seen._documents(dataset, np.arange(1000)))
    assert len(found) == len(whole)
    assert all(np.array_equal(a, b) for a, b in zip(found, whole, strict=True))
    assert not list(seen._documents(dataset, np.array([5000])))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models", "nothere/"], ["nothere/", "no such folder"]),
        (["--models", "bert-tiny"], ["random:bert-tiny"]),
        (["--models", "random:bert-tiny"], ["no tokenizer", "--tokenizer"]),
        (["--models", "x="], ["NAME=PATH"]),
        (["--models", "{a}", "{a}"], ["stands twice"]),
        (["--models", "{a},{a}"], ["need a name"]),
        (["--models", "t={a},{a}"], ["{a} stands twice in t"]),
        (["--models", "n-grams={a}"], ["floor"]),
        (["--models", "{a}", "--labels", "5000"], ["--labels 5000", "labelled texts"]),
        (
            ["--models", "{narrow}", "--tokenizer", "{a}", "--labels", "20"],
            ["has 50 vocabulary entries", "{a}"],
        ),
        (["--models", "{odd}", "--labels", "20"], ["{odd}: cannot be loaded"]),
        (["--models", "{a}", "--text-column", "body"], ["'body'", "text, label"]),
        (["--models", "{a}", "--learning-rates", "fast"], ["fast", "not a rate"]),
        (["--models", "{a}", "--seen-in", "{a}"], ["manifest"]),
    ],
)
def test_bad_input_is_one_line(place, tmp_path, words, said):
    names = {"a": place / "a", "odd": place / "odd", "narrow": place / "narrow"}
    filled = [word.format(**names) for word in words]
    done = run(place, tmp_path / "out", *filled)
    done.assert_one_line(*(word.format(**names) for word in said))
    assert not (tmp_path / "out").exists()


def test_a_bad_task_is_one_line(place, tmp_path):
    write_rows(tmp_path / "task.jsonl", [{"text": f"t{i}", "label": "one"} for i in range(50)])
    run(tmp_path, tmp_path / "out", "--models", place / "a").assert_one_line("label 'one'", "two")


def test_lists_with_spaces_and_repeated():
    words = [
        "--models",
        "a",
        "b",
        "--models",
        "c",
        "--seeds",
        "5",
        "--labels",
        "10",
        "all",
        "--json",
        "--models=d",
    ]
    assert " ".join(repeat_options(words, {"--models", "--labels"})) == (
        "--models a --models b --models c --seeds 5 --labels 10 --labels all --json --models=d"
    )


def test_contenders():
    found = parse_contenders(("runs/a", "tapt=b,c", "random:bert-tiny", "r=random:x"))
    assert [c.name for c in found] == ["runs/a", "tapt", "random:bert-tiny", "r"]
    assert [c.paths for c in found][1:] == [("b", "c"), ("random:bert-tiny",), ("random:x",)]


def test_positions_begin_behind_the_padding_of_roberta():
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    assert room_for_tokens(RobertaConfig(max_position_embeddings=514, **small)) == 512
    assert room_for_tokens(BertConfig(max_position_embeddings=512, **small)) == 512


def test_enough_steps():
    assert [count_epochs(n) for n in (16, 100, 1000, 5000)] == [30, 30, 5, 5]
    assert [count_steps(n) for n in (100, 480, 1000, 5000)] == [210, 300, 315, 785]
    assert count_steps(100, 2) == 14


def test_the_floor_reads_characters_where_words_have_no_spaces(tmp_path):
    texts = [(f"这个很{'好' if i % 2 else '坏'}吗{i}", i % 2) for i in range(200)]
    task = read_task(write_rows(tmp_path / "zh.jsonl", [{"text": t, "label": n} for t, n in texts]))
    split = make_split(task)
    found, strength = predict_floor(task, split, split.train[:40])
    held_out = [*split.validation, *split.test]
    assert [label for (label,) in found] == [task.labels[i][0] for i in held_out]
    assert strength > 0
