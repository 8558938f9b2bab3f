import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import xxhash

from preprocess.errors import WholewordError
from preprocess.verify import reindex, verify_dataset
from preprocess.write.manifest import Manifest, read_manifest, write_manifest
from tests.preprocess import support

Built = tuple[Path, Manifest]


@pytest.fixture
def dataset(built: Built, tmp_path: Path) -> Path:
    shutil.copytree(built[0], tmp_path / "shards")
    return tmp_path / "shards"


def shard_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/data-*.arrow"))


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def grow(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes() + bytes(rng.randrange(1, 9)))


def delete(path: Path, rng: random.Random) -> None:
    path.unlink()


def swap(path: Path, rng: random.Random) -> None:
    others = [p for p in path.parent.glob("*.arrow") if p.read_bytes() != path.read_bytes()]
    other = rng.choice(others)
    path.rename(path.with_suffix(".x"))
    other.rename(path)
    path.with_suffix(".x").rename(other)


def test_an_undamaged_dataset_is_right(built: Built) -> None:
    folder, manifest = built
    files = [shard.file for part in manifest.parts.values() for shard in part.shards]
    indexes = [f"{part}/index.arrow" for part in manifest.parts]
    others = [f"{part}/{name}" for part in manifest.parts for name in ("state", "dataset_info")]
    tokenizer = [f"tokenizer/{path.name}" for path in (folder / "tokenizer").iterdir()]
    others = [*(f"{name}.json" for name in others), "dataset_dict.json", *tokenizer]
    assert sorted(verify_dataset(folder)) == sorted(files + indexes + others)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("damage", [flip, truncate, grow, delete, swap])
def test_damage_anywhere_is_named(
    dataset: Path, damage: Callable[[Path, random.Random], None], seed: int
) -> None:
    rng = random.Random(seed)
    path = rng.choice([*shard_files(dataset), *dataset.glob("*/index.arrow")])
    damage(path, rng)
    changed = {path} if damage is not swap else set(path.parent.glob("*.arrow"))
    with pytest.raises(WholewordError) as error:
        list(verify_dataset(dataset))
    named = Path(str(error.value).split(": ")[0])
    assert named in changed
    assert str(error.value).count("\n") == 0


def others(folder: Path) -> list[Path]:
    """Every file that is neither shard nor index."""
    return sorted(p for p in folder.rglob("*") if p.suffix != ".arrow" and ".build" not in p.parts)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("damage", [flip, truncate, delete])
def test_damage_to_any_other_file_is_named_or_changes_nothing(
    built: Built, dataset: Path, damage: Callable[[Path, random.Random], None], seed: int
) -> None:
    rng = random.Random(seed)
    for path in (p for p in others(dataset) if p.is_file()):
        whole = path.read_bytes()
        damage(path, rng)
        for command in ("verify", "describe"):
            done = support.invoke(command, "--data", dataset)
            if done.status == 0 and command == "verify":  # in JSON white space means nothing
                assert json.loads(path.read_bytes()) == json.loads(whole), path
            elif done.status:
                done.assert_one_line(str(path))
        path.write_bytes(whole)
    assert support.digests(dataset) == support.digests(built[0])


@pytest.mark.parametrize("damage", [flip, truncate, delete])
def test_an_index_is_made_again(
    built: Built, dataset: Path, damage: Callable[[Path, random.Random], None]
) -> None:
    damage(dataset / "train" / "index.arrow", random.Random(1))
    with pytest.raises(WholewordError, match=r"train/index.arrow: .*run .*--reindex"):
        list(verify_dataset(dataset))
    reindex(dataset)
    assert list(verify_dataset(dataset))
    assert support.digests(dataset) == support.digests(built[0])


def test_damaged_shards_are_not_indexed(dataset: Path) -> None:
    before = support.digests(dataset)
    path = shard_files(dataset)[2]
    flip(path, random.Random(3))
    with pytest.raises(WholewordError, match=path.name):
        reindex(dataset)
    after = support.digests(dataset)
    assert {name for name in before if before[name] != after[name]} == {
        str(path.relative_to(dataset))
    }


def rewrite(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Replace the first shard by one that its checksum and size are right for."""
    manifest = read_manifest(folder)
    part = manifest.parts["train"]
    path = folder / part.shards[0].file
    table = change(pa.ipc.open_stream(path.read_bytes()).read_all())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    path.write_bytes(data)
    forged = {"bytes": len(data), "xxh3_128": xxhash.xxh3_128_hexdigest(data)}
    shards = (part.shards[0].model_copy(update=forged), *part.shards[1:])
    parts = {**manifest.parts, "train": part.model_copy(update={"shards": shards})}
    write_manifest(folder, manifest.model_copy(update={"parts": parts}))


def with_column(table: pa.Table, name: str, values: list[object]) -> pa.Table:
    position = table.schema.get_field_index(name)
    kind = table.schema.field(name).type
    return table.set_column(position, name, pa.array(values, kind))


def no_word_at_row_start(table: pa.Table) -> pa.Table:
    rows = table["word_starts"].to_pylist()
    rows[1][0] = False
    return with_column(table, "word_starts", rows)


def unknown_id(table: pa.Table) -> pa.Table:
    rows = table["input_ids"].to_pylist()
    rows[0][0] = 65_000
    return with_column(table, "input_ids", rows)


def lengths_apart(table: pa.Table) -> pa.Table:
    rows = table["word_starts"].to_pylist()
    rows[0] = [*rows[0], True]
    return with_column(table, "word_starts", rows)


def empty_row(table: pa.Table) -> pa.Table:
    for name in ("input_ids", "word_starts", "sentence_starts"):
        table = with_column(table, name, [[], *table[name].to_pylist()[1:]])
    return table


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda table: table.slice(1), "differ from the manifest's"),
        (lambda table: table.slice(0, 0), "differ from the manifest's"),
        (lambda table: table.drop_columns(["document"]), "columns are not those"),
        (no_word_at_row_start, "does not start a word"),
        (unknown_id, "an id that the tokenizer does not have"),
        (lengths_apart, "rows of different lengths"),
        (empty_row, "an empty row"),
    ],
)
def test_wrong_content_with_a_right_checksum_is_found(
    dataset: Path, change: Callable[[pa.Table], pa.Table], problem: str
) -> None:
    rewrite(dataset, change)
    with pytest.raises(WholewordError, match=f"data-00000-of-.*: .*{problem}"):
        list(verify_dataset(dataset))


def test_totals_that_do_not_add_up_are_found(dataset: Path) -> None:
    manifest = read_manifest(dataset)
    wrong = manifest.parts["train"].model_copy(update={"tokens": 1})
    parts = {**manifest.parts, "train": wrong}
    write_manifest(dataset, manifest.model_copy(update={"parts": parts}))
    with pytest.raises(
        WholewordError,
        match=r"manifest.json: parts.train: its tokens are not the sum of its shards'",
    ):
        list(verify_dataset(dataset))
