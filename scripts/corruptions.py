"""Random corruptions of what a run reads, with every checksum made right again.

`CORRUPTIONS` has them by the kind of file. Each changes one file of a folder that holds `shards/`,
`run/` (a run that was interrupted) and `deepspeed.json`, and mends whatever vouches for it, so that
only sense can tell that something is wrong.
"""

import copy
import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from preprocess.format import PARTS
from preprocess.write.hugging_face import dataset_files
from preprocess.write.manifest import read_manifest
from preprocess.write.shards import (
    INDEX_SCHEMA,
    batches_checksum,
    lengths_checksum,
    open_batch,
    read_index,
    scan_shard,
    seal,
    shard_schema,
    write_index,
)

NONSENSE: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 10**30, -(2**63), 2**31, 1.5, float("nan"), float("inf")),
    *("", "x", "\ud800", "../x", [], [[]], {}, {"x": 1}),
)
"""What may stand where something else should."""
# Values that another valid file may have, so that another loss is right.
_MEANINGFUL = {
    "manifest": ("tokenizer", "max_length"),
    "deepspeed": (
        *("train_", "gradient_", "fp16", "bf16", "optimizer", "scheduler", "zero_optimization"),
    ),
}


@dataclass(frozen=True)
class Corruption:
    """What was done."""

    what: str
    """For people."""
    meaningful: bool = False
    """Whether the file may be right for other data, or for another run."""


def _write_plain(path: Path, value: Any) -> None:
    """JSON that Python reads, strict or not."""
    path.write_text(json.dumps(value), encoding="utf-8")


def _paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside a JSON value."""
    if isinstance(value, dict):
        inner = list(value.items())
    else:
        inner = list(enumerate(value)) if isinstance(value, list) else []
    found = [] if not here else [here]
    for name, item in inner:
        found += _paths(item, (*here, name))
    return found


def change_json(value: Any, rng: random.Random) -> tuple[Any, tuple[Any, ...], str]:
    """A JSON object with one change; the way to it, and what it is."""
    value = copy.deepcopy(value)
    paths = _paths(value)
    depth = rng.randint(1, max(map(len, paths)))  # else long lists would have nearly all of it
    path = rng.choice([path for path in paths if len(path) <= depth])
    here = value
    for name in path[:-1]:
        here = here[name]
    old = here[path[-1]]
    change = rng.choice(["replace", "replace", "nudge", "remove", "repeat", "add"])
    if change == "nudge" and isinstance(old, int | float) and not isinstance(old, bool):
        here[path[-1]] = rng.choice([old + 1, old - 1, -old, 2 * old, old * 1000])
    elif change == "remove":
        del here[path[-1]]
    elif change == "repeat" and isinstance(here, list):
        here.insert(path[-1], copy.deepcopy(old))
    elif change == "add" and isinstance(here, dict):
        here["unheard_of"] = rng.choice(NONSENSE)
    else:
        change = "replace"
        here[path[-1]] = rng.choice(NONSENSE)
    now = here[path[-1]] if change in ("replace", "nudge") else change
    return value, path, f"{'.'.join(map(str, path))}: {_short(old)} -> {_short(now)}"


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) < 50 else f"{text[:47]}..."


def _break_text(path: Path, rng: random.Random) -> Corruption:
    """A file that is no JSON object at all."""
    whole = path.read_bytes()
    texts = {
        "empty": b"",
        "cut": whole[: rng.randrange(len(whole))],
        "a list": b"[]",
        "a number": b"7",
        "deep": b"[" * 100_000,
        "not UTF-8": b"\xff" + whole,
        "twice": whole + whole,
        "NUL bytes": bytes(len(whole)),
    }
    name = rng.choice(list(texts))
    path.write_bytes(texts[name])
    return Corruption(f"{path.name}: {name}")


def _corrupt_manifest(folder: Path, rng: random.Random) -> Corruption:
    path = folder / "shards" / "manifest.json"
    if rng.random() < 0.1:
        return _break_text(path, rng)
    manifest = _unsealed(path)
    changed, way, what = change_json(manifest, rng)
    _write_plain(path, seal(changed))
    return Corruption(what, way[0] in _MEANINGFUL["manifest"])


def _unsealed(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    value.pop("xxh3_128")
    return value


def _corrupt_index(folder: Path, rng: random.Random) -> Corruption:
    """Another value, or other rows, in `index.arrow` of a part that has rows."""
    shards = folder / "shards"
    part = rng.choice([p for p in PARTS if _rows(shards, p)])
    path = shards / part / "index.arrow"
    with pa.OSFile(str(path)) as source:
        rows = pa.ipc.open_file(source).read_all().to_pylist()
    number = rng.randrange(len(rows))
    change = rng.choice(["value", "value", "lengths", "remove", "repeat", "swap", "bytes"])
    what = f"{part}/index.arrow, batch {number}: {change}"
    manifest = _unsealed(shards / "manifest.json")
    entry = manifest["parts"][part]
    if change == "bytes":
        data = bytearray(path.read_bytes())
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        entry["index_xxh3_128"] = xxhash.xxh3_128_hexdigest(data)
    else:
        what += _change_index(rows, number, change, rng)
        _write_index(path, rows, entry)
    _write_plain(shards / "manifest.json", seal(manifest))
    return Corruption(what)


def _write_index(path: Path, rows: list[dict[str, Any]], entry: dict[str, Any]) -> None:
    """Write an index, a table for each shard, and its checksums into the part's entry."""
    tables = []
    for number, group in itertools.groupby(rows, key=lambda row: row["shard"]):
        tables.append(pa.Table.from_pylist(list(group), schema=INDEX_SCHEMA))
        if 0 <= number < len(entry["shards"]):
            entry["shards"][number]["lengths_xxh3_64"] = lengths_checksum(tables[-1])
    entry["index_xxh3_128"] = write_index(path, tables)
    entry["batches_xxh3_128"] = batches_checksum(tables)


def _rows(shards: Path, part: str) -> int:
    entry = _unsealed(shards / "manifest.json")["parts"].get(part)
    return entry["rows"] if entry else 0


def _change_index(rows: list[dict[str, Any]], number: int, change: str, rng: random.Random) -> str:
    """Change rows of the index in place; what exactly, for people."""
    other = rng.randrange(len(rows))
    if change == "value":
        name = rng.choice(["shard", "offset", "bytes", "rows", "xxh3_64"])
        old = rows[number][name]
        least = 0 if name == "xxh3_64" else -(2**31)
        values = [least, -1, 0, 1, old + 1, old - 1, 2 * old, 2**31 - 1, rows[other][name]]
        rows[number][name] = rng.choice([v for v in values if least <= v < 2**63 and v != old])
        return f", {name}: {old} -> {rows[number][name]}"
    if change == "lengths":
        lengths = rows[number]["lengths"]
        i, j = rng.randrange(len(lengths)), rng.randrange(len(lengths))
        kind = rng.choice(["zero", "most", "shift", "swap", "one more", "one less"])
        if kind in ("zero", "most"):
            lengths[i] = 0 if kind == "zero" else 65_535
        elif kind == "shift":
            lengths[i], lengths[j] = lengths[i] + 1, max(0, lengths[j] - 1)
        elif kind == "swap":
            lengths[i], lengths[j] = lengths[j], lengths[i]
        else:
            lengths[i : i + 1] = [lengths[i]] * 2 if kind == "one more" else []
        return f", {kind} at {i}, {j}"
    if change == "remove":
        del rows[number]
    elif change == "repeat":
        rows.insert(other, copy.deepcopy(rows[number]))
    else:
        rows[number], rows[other] = rows[other], rows[number]
    return f", {other}"


Columns = dict[str, list[Any]]


def _id_too_high(columns: Columns, row: int, rng: random.Random) -> None:
    columns["input_ids"][row][-1] = rng.choice([60_000, 65_535])


def _no_word_start(columns: Columns, row: int, _rng: random.Random) -> None:
    columns["word_starts"][row][0] = False


def _empty(columns: Columns, row: int, _rng: random.Random) -> None:
    for name in ("input_ids", "word_starts", "sentence_starts"):
        columns[name][row] = []


def _too_long(columns: Columns, row: int, rng: random.Random) -> None:
    times = rng.choice([40, 5000])
    for name in ("input_ids", "word_starts", "sentence_starts"):
        columns[name][row] = columns[name][row] * times


def _uneven(columns: Columns, row: int, rng: random.Random) -> None:
    columns[rng.choice(["input_ids", "word_starts", "sentence_starts"])][row].pop()


def _null(columns: Columns, row: int, rng: random.Random) -> None:
    column = columns[rng.choice(list(columns))]
    if isinstance(column[row], list) and rng.random() < 0.5:
        column[row][0] = None
    else:
        column[row] = None


ROW_CHANGES = (_id_too_high, _no_word_start, _empty, _too_long, _uneven, _null)


def _corrupt_shard(folder: Path, rng: random.Random) -> Corruption:
    """Another row, type or byte in a shard; index and manifest say what it holds then."""
    shards = folder / "shards"
    manifest = read_manifest(shards)
    part = rng.choice([p for p in PARTS if _rows(shards, p)])
    number = rng.choice([n for n, s in enumerate(manifest.parts[part].shards) if s.rows])
    path = shards / manifest.parts[part].shards[number].file
    index = read_index(shards / part / "index.arrow")
    batch = rng.choice(np.flatnonzero(index.shard == number).tolist())
    place = (int(index.offset[batch]), int(index.bytes[batch]))
    change = rng.choice(["row", "row", "row", "schema", "metadata", "body", "end", "tail"])
    what = f"{path.name}, batch {batch}: {change}"
    data = bytearray(path.read_bytes())
    if change == "row":
        message, detail = _change_row(bytes(data), place, shard_schema(manifest.id_dtype), rng)
        what += detail
        data[place[0] : sum(place)] = message
    elif change == "schema":
        data = _other_schema(bytes(data), rng)
    elif change in ("metadata", "body"):
        header = 8 + int.from_bytes(data[place[0] + 4 : place[0] + 8], "little")
        first, last = (0, header) if change == "metadata" else (header, place[1])
        data[place[0] + rng.randrange(first, last)] ^= 1 << rng.randrange(8)
    else:
        data = data[:-8] if change == "end" else data + bytes(8 * rng.randint(1, 9))
    path.write_bytes(data)
    _vouch_for_shard(shards, part, number)
    return Corruption(what, meaningful=change in ("metadata", "body"))


def _change_row(
    data: bytes, place: tuple[int, int], schema: pa.Schema, rng: random.Random
) -> tuple[bytes, str]:
    """A record batch's message with one row that the format does not allow."""
    columns = open_batch(pa.py_buffer(data), *place, schema).to_pydict()
    row = rng.randrange(len(columns["document"]))
    change = rng.choice(ROW_CHANGES)
    change(columns, row, rng)
    batch = pa.RecordBatch.from_pydict(columns, schema=schema)
    return batch.serialize().to_pybytes(), f" {row}{change.__name__.replace('_', ' ')}"


def _other_schema(data: bytes, rng: random.Random) -> bytearray:
    """The same rows with a column of another type or name, fewer, more, or in another order."""
    with pa.ipc.open_stream(data) as reader:
        table = reader.read_all()
    change = rng.randrange(5)
    if change == 0:
        table = table.select(table.column_names[::-1])
    elif change == 1:
        table = table.drop_columns([rng.choice(table.column_names)])
    elif change == 2:
        table = table.append_column("more", table["document"])
    elif change == 3:
        ids = table["input_ids"].cast(pa.list_(pa.int32()))
        table = table.set_column(0, "input_ids", ids)
    else:
        table = table.rename_columns(["ids", *table.column_names[1:]])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytearray(sink.getvalue().to_pybytes())


def _vouch_for_shard(shards: Path, part: str, number: int) -> None:
    """Make the index and the manifest those of a shard that was changed, as far as it is one."""
    manifest = _unsealed(shards / "manifest.json")
    entry = manifest["parts"][part]
    shard = entry["shards"][number]
    data = (shards / shard["file"]).read_bytes()
    found = _scan(data, number)
    shard |= {"bytes": len(data), "xxh3_128": xxhash.xxh3_128_hexdigest(data)} | found[1]
    with pa.OSFile(str(shards / part / "index.arrow")) as source:
        rows = pa.ipc.open_file(source).read_all().to_pylist()
    of_shard = found[0] or _rehashed([row for row in rows if row["shard"] == number], data)
    rows = (
        [row for row in rows if row["shard"] < number]
        + of_shard
        + [row for row in rows if row["shard"] > number]
    )
    _write_index(shards / part / "index.arrow", rows, entry)
    for total in ("rows", "tokens", "words"):
        entry[total] = sum(one[total] for one in entry["shards"])
    _write_plain(shards / "manifest.json", seal(manifest))
    for name, value in dataset_files(read_manifest(shards)).items():
        _write_plain(shards / name, value)


def _scan(data: bytes, number: int) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """A shard's rows of the index and its totals; empty where it cannot be read."""
    rows, totals = [], {"rows": 0, "tokens": 0, "words": 0}
    try:
        for row, batch in scan_shard(pa.py_buffer(data), number):
            rows.append(row)
            totals["rows"] += batch.num_rows
            totals["tokens"] += len(batch.column("input_ids").flatten())
            totals["words"] += batch.column("word_starts").flatten().true_count or 0
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError, KeyError, AttributeError, OverflowError):
        return [], {}
    return rows, totals


def _rehashed(rows: list[dict[str, Any]], data: bytes) -> list[dict[str, Any]]:
    """Rows of the index with the checksums of what now lies where they point."""
    for row in rows:
        message = data[row["offset"] : row["offset"] + row["bytes"]]
        row["xxh3_64"] = xxhash.xxh3_64_intdigest(message)
    return rows


def _corrupt_deepspeed(folder: Path, rng: random.Random) -> Corruption:
    path = folder / "deepspeed.json"
    if rng.random() < 0.1:
        return _break_text(path, rng)
    changed, way, what = change_json(json.loads(path.read_text(encoding="utf-8")), rng)
    _write_plain(path, changed)
    return Corruption(what, str(way[0]).startswith(_MEANINGFUL["deepspeed"]))


def _corrupt_options(folder: Path, rng: random.Random) -> Corruption:
    """The settings beside a run, or the note in its final model."""
    run = folder / "run"
    path = rng.choice([run / "options.json", run / "final" / "wholeword.json"])
    if rng.random() < 0.3:
        return _break_text(path, rng)
    changed, _, what = change_json(json.loads(path.read_text(encoding="utf-8")), rng)
    _write_plain(path, changed)
    return Corruption(f"{path.name}, {what}")


def _checkpoint(folder: Path, rng: random.Random) -> Path:
    """The newest checkpoint, half the time as the only one."""
    older, newest = sorted((folder / "run" / "checkpoints").glob("step-*"))[-2:]
    if rng.random() < 0.5:
        older.rename(folder / older.name)
    return newest


def _corrupt_progress(folder: Path, rng: random.Random) -> Corruption:
    checkpoint = _checkpoint(folder, rng)
    path = checkpoint / "progress.json"
    if rng.random() < 0.1:
        done = _break_text(path, rng)
    else:
        changed, _, what = change_json(json.loads(path.read_text(encoding="utf-8")), rng)
        _write_plain(path, changed)
        done = Corruption(what)
    data = path.read_bytes()
    manifest = json.loads((checkpoint / "manifest.json").read_text(encoding="utf-8"))
    vouched = {"bytes": len(data), "xxh3_128": xxhash.xxh3_128_hexdigest(data)}
    manifest["files"]["progress.json"] = vouched
    _write_plain(checkpoint / "manifest.json", manifest)
    return done


def _corrupt_checkpoint(folder: Path, rng: random.Random) -> Corruption:
    path = _checkpoint(folder, rng) / "manifest.json"
    if rng.random() < 0.2:
        return _break_text(path, rng)
    changed, _, what = change_json(json.loads(path.read_text(encoding="utf-8")), rng)
    _write_plain(path, changed)
    return Corruption(what)


CORRUPTIONS: dict[str, Callable[[Path, random.Random], Corruption]] = {
    "manifest": _corrupt_manifest,
    "index": _corrupt_index,
    "shard": _corrupt_shard,
    "deepspeed": _corrupt_deepspeed,
    "options": _corrupt_options,
    "progress": _corrupt_progress,
    "checkpoint": _corrupt_checkpoint,
}
"""By the kind of file; the first three are read by `verify` too, the last three continue a run."""
