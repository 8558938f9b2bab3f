"""What looks wrong about a dataset is said, and what does not is not."""

from pathlib import Path

import pytest
import xxhash

from preprocess.clean.holdout import LEFT_OUT
from preprocess.run import signs
from preprocess.vocabulary import train_vocabulary
from preprocess.write.manifest import Manifest
from tests.preprocess import support
from tests.preprocess.support import invoke


def is_held(text: str) -> bool:
    """Whether a text falls into validation, of which `support.options` wants a fifth."""
    return xxhash.xxh3_64_intdigest(text.encode()) < 0.2 * 2**64


OFTEN = next(filter(is_held, (f"A line that stands often, {number}." for number in range(99))))
CHINESE, ENGLISH = support.zh_text(20_000), support.en_text(20_000)


@pytest.fixture(scope="module")
def english_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("english")
    (folder / "en.txt").write_text(ENGLISH, encoding="utf-8")
    train_vocabulary((str(folder / "en.txt"),), folder / "tokenizer", 400)
    return str(folder / "tokenizer")


def seen(manifest: Manifest) -> dict[str, str]:
    """The signs but that of the sample's tokenizer, which all tests here use."""
    return {w.sign: w.text for w in manifest.warnings if w.sign != signs.SAMPLE}


def build(folder: Path, text: str, **changes: object) -> Manifest:
    (folder / "in.txt").write_text(text, encoding="utf-8")
    return support.build(folder / "out", folder / "in.txt", **changes)


def test_good_text_has_no_sign(tmp_path: Path) -> None:
    manifest = build(tmp_path, CHINESE)
    assert seen(manifest) == {}
    assert manifest.distinct_texts == sum(part.documents for part in manifest.parts.values())


def test_much_unknown_names_the_characters(tmp_path: Path, english_tokenizer: str) -> None:
    manifest = build(tmp_path, CHINESE, tokenizer=english_tokenizer)
    text = seen(manifest)[signs.UNKNOWN]
    tokens = sum(part.tokens for part in manifest.parts.values())
    unknown = sum(part.unknown for part in manifest.parts.values())
    assert text.startswith(f"{unknown / tokens:.0%} of the tokens")
    commonest = list(manifest.unknown_characters)
    counts = sorted((CHINESE.count(c) for c in set(CHINESE) if c > "\u4e00"), reverse=True)
    assert len(commonest) == 10
    assert CHINESE.count(commonest[0]) >= counts[4]  # of a sample of each task
    (tmp_path / "b").mkdir()
    assert seen(build(tmp_path / "b", ENGLISH, tokenizer=english_tokenizer)) == {}


def test_the_samples_tokenizer_on_other_text(tmp_path: Path) -> None:
    text = {w.sign: w.text for w in build(tmp_path, CHINESE).warnings}[signs.SAMPLE]
    assert "name your model's tokenizer with --tokenizer" in text
    manifest = support.build(tmp_path / "own", support.EN_SAMPLE, split_size=1 << 20)
    assert manifest.warnings == ()


def test_many_duplicates(tmp_path: Path) -> None:
    text = CHINESE + CHINESE[: len(CHINESE) // 2]
    manifest = build(tmp_path, text)
    documents = sum(part.documents for part in manifest.parts.values())
    share = 1 - len(set(text.split("\n")) - {""}) / documents
    assert 0.25 < share < 0.4
    assert seen(manifest)[signs.REPEATED].startswith(f"about {share:.0%} of {documents:,} docu")
    (tmp_path / "clean").mkdir()
    assert seen(build(tmp_path / "clean", text, dedup="documents")) == {}


def test_one_text_cannot_fill_validation(tmp_path: Path) -> None:
    manifest = build(tmp_path, CHINESE + f"{OFTEN}\n" * 900, split_size=1 << 20)
    assert manifest.counts == {"blank_lines": 1, LEFT_OUT: 890}
    assert "; 890 of them were left out of it, and" in seen(manifest)[signs.VALIDATION]
    rows = {
        part: support.read_shards(tmp_path / "out", manifest, part)["input_ids"].to_pylist()
        for part in manifest.parts
    }
    held = {tuple(ids) for ids in rows["validation"]}
    assert len(rows["validation"]) - len(held) == 9
    assert not held & {tuple(ids) for ids in rows["train"]}


def test_signs_of_copies_do_not_depend_on_where_tasks_are_cut(tmp_path: Path) -> None:
    texts = list(filter(None, dict.fromkeys(CHINESE.splitlines())))
    text = "".join(f"{line}\n{OFTEN}\n" for line in texts)
    held = sum(map(is_held, texts)) + len(texts)
    validation = f"about {(len(texts) - 1) / held:.0%} of the {held:,} documents that fall to vali"
    repeated = f"about {(len(texts) - 1) / (2 * len(texts)):.0%} of {2 * len(texts):,} documents"
    left_out = set()
    for size in (2 << 10, 1 << 20):
        (tmp_path / str(size)).mkdir()
        manifest = build(tmp_path / str(size), text, split_size=size)
        assert seen(manifest)[signs.VALIDATION].startswith(validation)
        assert seen(manifest)[signs.REPEATED].startswith(repeated)
        left_out.add(manifest.counts.get(LEFT_OUT, 0))
    assert len(left_out) == 2


def test_a_file_is_judged_as_a_whole_wherever_it_is_cut(tmp_path: Path) -> None:
    lines = b"".join(b"a line of text, number %d\n" % number for number in range(300))
    for more in (0, 3):
        for size in (1 << 10, 1 << 20):
            folder = tmp_path / f"{more}-{size}"
            folder.mkdir()
            (folder / "in.txt").write_bytes(b"\xff\n" + lines + b"\xff\n" + b"\xff\n" * more)
            manifest = support.build(
                folder / "out", folder / "in.txt", split_size=size, encoding="utf-8"
            )
            assert manifest.counts["bytes_replaced"] == 2 + more
            assert (signs.CONTRADICTING in seen(manifest)) == (more > 0)


def test_lines_that_end_in_carriage_returns_alone(tmp_path: Path) -> None:
    manifest = build(tmp_path, CHINESE.replace("\n", "\r"), validation_fraction=0.0)
    count = CHINESE.count("\n")
    assert seen(manifest)[signs.RETURNS].startswith(f"{count} in 1 documents, with no line feed")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "in.csv").write_text('text\n"one\r\ntwo\r\nthree"\n', newline="")
    assert (
        seen(
            support.build(
                tmp_path / "b" / "out", tmp_path / "b" / "in.csv", validation_fraction=0.0
            )
        )
        == {}
    )


def test_dictionaries(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("\ufeff曹操 9 nr\n关公\n", encoding="utf-8")
    (tmp_path / "odd.txt").write_text("New York\n、顿号 3\n", encoding="utf-8")
    good, odd = str(tmp_path / "good.txt"), str(tmp_path / "odd.txt")
    found = seen(build(tmp_path, CHINESE, segmenter="jieba", user_dicts=(good, odd)))
    assert found == {
        signs.NEVER: f"{odd}: 2 of its 2 words, such as 'New York', '、顿号': jieba ends a word "
        "at spaces, commas and most other marks"
    }
    (tmp_path / "b").mkdir()
    (tmp_path / "good.txt").write_text("量子力学\n", encoding="utf-8")
    found = seen(build(tmp_path / "b", CHINESE, segmenter="jieba", user_dicts=(good,)))
    assert found[signs.UNSEEN].startswith(f"no word of {good} was seen in the text")


def test_signs_close_the_table(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text(CHINESE * 2, encoding="utf-8")
    own = ["--input", tmp_path / "in.txt", "--output", tmp_path / "out", "--workers", "1"]
    for done in (invoke("build-shards", *own), invoke("describe", tmp_path / "out")):
        assert done.status == 0, done
        assert "│ many duplicates " in done.output
        assert "many duplicates: about 50% of" in done.output
