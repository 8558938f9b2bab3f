"""Rules, duplicates and near duplicates: what is left out of a build, and what is said of it."""

import itertools
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from preprocess.clean import duplicates
from preprocess.clean.distinct import SMALLEST, DistinctTexts
from preprocess.clean.duplicates import HashRuns, find_copies, find_first, hash_texts, part_count
from preprocess.clean.near_duplicates import Signatures, find_near_copies
from preprocess.errors import WholewordError
from preprocess.run import state
from preprocess.run.build import run_build
from preprocess.run.plan import BuildPlan, identity, plan_build
from preprocess.write.manifest import Manifest
from tests.preprocess import support

LINES = support.zh_text(30_000).splitlines() + support.en_text(8_000).splitlines()


def drop_verses(text: str) -> bool:
    return "God" not in text


def clean_digits(text: str) -> str | None:
    kept = "".join(character for character in text if not character.isdigit())
    return kept if kept.strip() else None


def fail_at_cao(text: str) -> bool:
    return 1 / (0 if "曹" in text else 1) > 0


def return_five(text: str) -> int:
    return 5


def distinct_lines() -> list[str]:
    return list(dict.fromkeys(line for line in LINES if line.strip()))


def planted(path: Path) -> Counter[str]:
    """A file in which some lines stand again, near and far; how often each too often."""
    lines = distinct_lines()
    rng = np.random.default_rng(5)
    more = [lines[i] for i in rng.integers(0, len(lines), 150)]
    mixed = lines[:40] + lines[3:9] + lines[40:] + more + [lines[7]] * 20
    path.write_text("".join(f"{line}\n" for line in mixed), encoding="utf-8")
    return Counter(mixed) - Counter(lines)


# --- exact duplicates


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """The same text without copies."""
    folder = tmp_path_factory.mktemp("plain")
    text = "".join(f"{line}\n" for line in distinct_lines())
    (folder / "in.txt").write_text(text, encoding="utf-8")
    return folder, support.build(folder / "out", folder / "in.txt")


@pytest.mark.parametrize("workers", [1, 2])
def test_exactly_the_planted_copies_are_left_out(
    plain: tuple[Path, Manifest], tmp_path: Path, workers: int
) -> None:
    copies = planted(tmp_path / "in.txt")
    manifest = support.build(
        tmp_path / "out", tmp_path / "in.txt", dedup="documents", workers=workers
    )
    assert manifest.counts["documents_duplicate"] == sum(copies.values())
    wanted = support.document_ids(plain[0] / "out", plain[1])
    found = support.document_ids(tmp_path / "out", manifest)
    assert [ids.tolist() for ids in found] == [ids.tolist() for ids in wanted]
    assert {sample.reason for sample in manifest.dropped} == {"documents_duplicate"}
    assert manifest.dropped[0].text == distinct_lines()[3][:80]
    assert len(manifest.dropped) == 5
    hashes = {path.name for path in (tmp_path / "out" / ".build" / "hashes").iterdir()}
    assert hashes and not [name for name in hashes if name.startswith(("part-", "."))]
    if workers == 2:
        again = support.build(tmp_path / "one", tmp_path / "in.txt", dedup="documents")
        assert support.digests(tmp_path / "one") == support.digests(tmp_path / "out")
        assert again == manifest


def test_a_build_killed_between_any_two_events_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(tmp_path / "in.txt")
    support.build(tmp_path / "whole", tmp_path / "in.txt", dedup="documents")
    whole = support.digests(tmp_path / "whole")
    plan = plan_build(support.options(tmp_path / "out", tmp_path / "in.txt", dedup="documents"))
    for kill_at in (2, 5, 9, 13, 17):
        running = run_build(plan)
        for event in itertools.islice(running, kill_at):
            assert not isinstance(event, Manifest)
        running.close()
    support.build(tmp_path / "out", tmp_path / "in.txt", dedup="documents")
    assert support.digests(tmp_path / "out") == whole


@given(
    texts=st.lists(st.sampled_from("abcdefgh"), max_size=40),
    run=st.integers(1, 9),
    cut=st.integers(0, 40),
)
def test_runs_find_what_a_set_finds(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], run: int, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "RUN", run)
        files = []
        for task, (begin, end) in enumerate(((0, cut), (cut, len(texts)))):
            writer = HashRuns(folder, str(task))
            for place in range(begin, min(end, len(texts))):
                writer.add(pa.array([texts[place]], pa.large_string()), np.array([place]))
            writer.close()
            files += writer.files
        runs, own = files[::2], files[1::2]
        parts = part_count(runs)
        found = [n for part in range(parts) for n in find_copies(runs, part, parts)]
        found += [n for path in own for n in duplicates.load_array(path)]
    wanted = [place for place, text in enumerate(texts) if text in texts[:place]]
    assert sorted(found) == wanted


def test_hashes_are_the_librarys() -> None:
    texts = ["", "a", "天下大势", "x" * 1000]
    high, low = hash_texts(pa.array(["none", *texts], pa.large_string()).slice(1))
    assert [int(h) << 64 | int(x) for h, x in zip(high, low, strict=True)] == [
        xxhash.xxh3_128_intdigest(text.encode()) for text in texts
    ]


def test_half_a_hash_is_not_a_copy() -> None:
    high = np.array([7, 7, 7, 3], np.uint64)
    low = np.array([2, 1, 2, 2], np.uint64)
    order, first = find_first(high, low)
    assert order.tolist() == [3, 1, 0, 2]
    assert first.tolist() == [True, True, True, False]


# --- near duplicates


@pytest.mark.parametrize("exact_too", [False, True])
def test_near_duplicates(tmp_path: Path, exact_too: bool) -> None:
    pytest.importorskip("datasketch")
    lines = [line for line in distinct_lines() if len(line) > 100][:30]
    changed = [line[:60] + "某" + line[61:] for line in lines[:10]]
    other = [line[: len(line) // 3] + "。" for line in lines[10:20]]
    text = "\n".join([*lines, *changed, *other, *lines[:5]])
    (tmp_path / "in.txt").write_text(text, encoding="utf-8")
    changes = {"near_dedup": 0.8, "dedup": "documents" if exact_too else "none"}
    manifest = support.build(tmp_path / "out", tmp_path / "in.txt", workers=1, **changes)
    exact = 5 if exact_too else 0
    assert manifest.counts.get("documents_duplicate", 0) == exact
    assert manifest.counts["documents_near_duplicate"] == 15 - exact
    assert sum(part.documents for part in manifest.parts.values()) == 40


def test_few_near_duplicates_are_missed(tmp_path: Path) -> None:
    pytest.importorskip("datasketch")
    rng = np.random.default_rng(3)
    letters = rng.integers(0x4E00, 0x9FA0, (150, 300))
    changed = letters.copy()
    changed[:, 30::75] = 0x4DFF  # four characters, in twenty runs of five: 276 of 316 in common
    again = changed.copy()
    again[:, 10::60] = 0x4DFE  # and five more: with what stays, 251 of 341 are in common
    texts = ["".join(map(chr, row)) for row in (*letters, *changed, *again)]
    signatures = Signatures(tmp_path, "0")
    signatures.add(pa.array(texts, pa.large_string()), np.arange(450))
    signatures.close()
    paths = (signatures.files[0], signatures.files[1])
    [found] = find_near_copies([paths], 0.8, lambda _, numbers: np.zeros(len(numbers), np.bool_))
    assert np.sum(found < 150) == 0
    assert np.sum((found >= 150) & (found < 300)) > 0.95 * 150  # 0.87
    assert np.sum(found >= 300) < 0.2 * 150  # 0.74, and 0.85 with what does not stay


def test_a_missing_library_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.txt").write_text("one\n")
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(WholewordError, match=r"pip install 'wholeword\[near-dedup\]'"):
        support.build(tmp_path / "out", tmp_path / "in.txt", near_dedup=0.8)


# --- rules


def test_lengths_in_characters(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("一二\n一二三\n一二三四\nabcde\n\nab😀\n")
    manifest = support.build(
        tmp_path / "out", tmp_path / "in.txt", min_chars=3, max_chars=4, validation_fraction=0.0
    )
    wanted = {"blank_lines": 1, "documents_too_short": 1, "documents_too_long": 1}
    assert manifest.counts == wanted
    assert [(s.reason, s.place, s.text) for s in manifest.dropped] == [
        ("documents_too_short", "byte 0", "一二"),
        ("documents_too_long", "byte 30", "abcde"),
    ]
    assert manifest.options["min_chars"] == 3
    assert manifest.options["max_chars"] == 4


def test_a_filter_leaves_out_or_changes(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("God is\nman 12 is\n34\nman was\n")
    own = {"validation_fraction": 0.0, "filter": f"{__name__}:drop_verses"}
    manifest = support.build(tmp_path / "a", tmp_path / "in.txt", **own)
    assert manifest.counts == {"documents_filtered_out": 1}
    own["filter"] = f"{__name__}:clean_digits"
    manifest = support.build(tmp_path / "b", tmp_path / "in.txt", **own, max_chars=6)
    assert manifest.counts == {
        "documents_changed_by_filter": 1,
        "documents_filtered_out": 1,
        "documents_too_long": 2,  # what is left of "man 12 is" is "man  is"
    }
    assert manifest.parts["train"].documents == 1
    assert len(manifest.options["filter_sha256"]) == 64


def test_an_edited_filter_is_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.txt").write_text("one\ntwo\n")
    monkeypatch.syspath_prepend(tmp_path)
    own = {"filter": "rules_of_a_test:keep", "validation_fraction": 0.0}

    def edit(line: str) -> BuildPlan:
        (tmp_path / "rules_of_a_test.py").write_text(f"def keep(text):\n    {line}\n")
        sys.modules.pop("rules_of_a_test", None)
        return plan_build(support.options(tmp_path / "out", tmp_path / "in.txt", **own))

    with pytest.raises(WholewordError, match="documents filtered out: 2"):
        list(run_build(edit('return " "')))
    list(run_build(edit("return True")))
    plan = edit("return len(text) > 3")
    with pytest.raises(WholewordError, match="--filter rules_of_a_test:keep, whose file was edit"):
        state.is_finished(plan.output, identity(plan))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no.such:thing", "cannot be imported"),
        (f"{__name__}:LINES", "not a function"),
        (f"{__name__}:fail_at_cao", "raised ZeroDivisionError"),
        (f"{__name__}:return_five", "returned int for the document that begins with"),
    ],
)
def test_a_filter_that_fails_is_one_line(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "in.txt").write_text("天下\n曹操\n")
    with pytest.raises(WholewordError, match=f"--filter {name}: {problem}"):
        support.build(tmp_path / "out", tmp_path / "in.txt", filter=name)


# --- how much repeats


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.integers(0, 30))
def test_few_distinct_texts_are_counted_exactly(hashes: list[int], cut: int) -> None:
    distinct = DistinctTexts()
    distinct.add(np.array(hashes[:cut], np.uint64))
    distinct = DistinctTexts(distinct.smallest)
    distinct.add(np.array(hashes[cut:] * 2, np.uint64))
    assert distinct.count() == len(set(hashes))


def test_many_distinct_texts_are_estimated() -> None:
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**64, 50_000, np.uint64)
    distinct = DistinctTexts()
    for part in np.split(np.repeat(hashes, 3), 10):
        distinct.add(part)
    assert len(distinct.smallest) == SMALLEST
    assert 0.82 < distinct.count() / 50_000 < 1.18  # four times the error
