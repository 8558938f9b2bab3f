"""Splits: stable, without copies across parts, nested and stratified."""

import json

import numpy as np
import pytest

from preprocess.errors import WholewordError
from train.evaluate import splits
from train.evaluate.splits import leave_out, make_split, resolve_labels, subset
from train.evaluate.task_file import read_task


def make_task(folder, rows, test=None, name="a"):
    def write(file, found):
        lines = [json.dumps({"text": text, "label": label}) for text, label in found]
        file.write_text("\n".join(lines))
        return file

    path = write(folder / f"{name}.jsonl", rows)
    return read_task(path, test=write(folder / f"{name}-test.jsonl", test) if test else None)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    labels = rng.choice(["a", "b", "c"], 3000, p=[0.7, 0.25, 0.05])
    return [(f"text number {i}", str(label)) for i, label in enumerate(labels)]


def texts(task, part):
    return {task.texts[index] for index in part}


def test_parts_are_disjoint_and_keep_their_shares(tmp_path, rows):
    task = make_task(tmp_path, rows)
    split = make_split(task)
    parts = [split.train, split.validation, split.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(3000))
    # Binomial: 5 standard deviations are 110 and 82 texts; false alarms under 1 in 10^5.
    assert abs(len(split.test) - 600) < 110 and abs(len(split.validation) - 300) < 82


def test_a_text_keeps_its_part_whatever_stands_beside_it(tmp_path, rows):
    task, fewer = make_task(tmp_path, rows), make_task(tmp_path, rows[::-2], name="b")
    for part in ("train", "validation", "test"):
        whole = texts(task, getattr(make_split(task), part))
        assert texts(fewer, getattr(make_split(fewer), part)) <= whole


def test_copies_are_left_out_and_counted(tmp_path, rows):
    copies = [(f"  {text.replace(' ', '  ')}", label) for text, label in rows[:100]]
    contradictions = [(rows[i][0], "a" if rows[i][1] != "a" else "b") for i in range(200, 230)]
    task = make_task(tmp_path, [*rows, *copies, *contradictions])
    split = make_split(task)
    assert (split.copies, split.contradictions) == (130, 30)
    plain = make_split(make_task(tmp_path, rows, name="b"))
    assert all(
        (getattr(split, part) == getattr(plain, part)).all()
        for part in ("train", "validation", "test")
    )


def test_test_and_validation_have_a_greatest_size(tmp_path, rows, monkeypatch):
    monkeypatch.setattr(splits, "MAX_TEST", 50)
    monkeypatch.setattr(splits, "MAX_VALIDATION", 40)
    split = make_split(make_task(tmp_path, rows))
    assert (len(split.train), len(split.validation), len(split.test)) == (2910, 40, 50)


def test_a_test_file_is_the_test_part_and_is_not_trained_on(tmp_path, rows):
    task = make_task(tmp_path, rows, test=[*rows[:30], ("new", "a"), ("new", "a"), ("other", "b")])
    split = make_split(task)
    assert texts(task, split.test) == {*texts(task, range(30)), "new", "other"}
    assert (split.in_test_file, split.copies) == (30, 1)
    assert not texts(task, split.test) & texts(task, [*split.train, *split.validation])


def test_labels_that_only_the_test_part_has_are_refused(tmp_path, rows):
    task = make_task(tmp_path, rows, test=[("new", "a"), ("other", "d")])
    with pytest.raises(WholewordError, match=r"training part has the label 'd'"):
        make_split(task)
    with pytest.raises(WholewordError, match=r"part empty; give more texts"):
        make_split(make_task(tmp_path, rows[3:5], name="c"))


def test_subsets_are_nested_stratified_and_of_their_seed(tmp_path, rows):
    task = make_task(tmp_path, rows)
    split = make_split(task)
    classes = np.array(task.classes)
    everything = subset(task, split, len(split.train), 1)
    assert sorted(everything) == sorted(split.train)
    shares = np.bincount(classes[split.train]) / len(split.train)
    for count in (3, 10, 100, 1000):
        found = subset(task, split, count, 1)
        assert (found == everything[:count]).all()
        assert (abs(np.bincount(classes[found], minlength=3) - count * shares) <= 2).all()
    assert set(classes[subset(task, split, 3, 7)]) == {0, 1, 2}
    assert set(subset(task, split, 100, 1)) != set(subset(task, split, 100, 2))


def test_numbers_of_labels(tmp_path, rows):
    task = make_task(tmp_path, rows)
    split = make_split(task)
    have = len(split.train)
    assert resolve_labels(task, split, ("all", "100", "10", str(have))) == (10, 100, have)
    for wanted, words in [
        (("3000",), f"has {have:,} labelled texts"),
        (("2",), "3 labels"),
        (("-1",), "not a number"),
        (("many",), "not a number"),
        ((), "no number"),
    ]:
        with pytest.raises(WholewordError, match=words):
            resolve_labels(task, split, wanted)


def test_seen_texts_leave_the_test_part(tmp_path, rows):
    task = make_task(tmp_path, rows)
    split = make_split(task)
    seen = set(split.test[:7].tolist())
    left = leave_out(task, split, seen)
    assert left.seen == 7 and not seen & set(left.test.tolist())
    with pytest.raises(WholewordError, match="every test text"):
        leave_out(task, split, set(split.test.tolist()))
