"""The pages of documentation: their links, and docs/format.md followed to the letter.

The second half is a reader and a masker written from docs/format.md alone: it imports nothing of
the program, and has to find the rows and the masks that the program makes.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from tests.train.shard_factory import ShardSpec, make_shards
from train.data.loader import Cursor, Loader, LoaderOptions
from train.data.shard_dataset import ShardDataset

ROOT = Path(__file__).resolve().parent.parent
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
PAGES = [*READMES, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OURS = "preprocess|train|tests|scripts|ds_configs|docs"
MAX_LINES = 200
SEED = 1 << 40 | 5
"""Above 32 bits, so that both words of the key count."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    relative = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in relative if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`([\w.-]+(?:/[\w.-]+)+\.(?:py|sh))`", text)
    named += re.findall(rf"\b(?:{OURS})/[\w./-]+\.(?:py|sh|json|toml|md)\b", text)
    assert [path for path in sorted(set(named)) if not (ROOT / path).exists()] == []


def test_the_walk_names_what_is_there():
    rows = re.findall(r"^\| [\d']+ \| `(.+?)` \| (.+?) \|", text_of("design.md"), re.MULTILINE)
    missing = [
        (path, name)
        for path, names in rows
        for name in re.findall(r"`(\w+)`", names)
        if not re.search(rf"^(?:def|class) {name}\b", text_of(f"../{path}"), re.MULTILINE)
    ]
    assert len(rows) > 20 and not missing


def text_of(page: str) -> str:
    """A file by its path from docs/."""
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES[3:], ids=lambda page: page.name)
def test_no_page_is_longer_than_one_reads(page):
    most = 2 * MAX_LINES if page.name == "options.md" else MAX_LINES  # that one is looked up in
    assert len(page.read_text(encoding="utf-8").splitlines()) <= most


def test_both_readmes_have_the_same_sections_commands_and_links_and_are_short():
    def shape(text: str) -> list[list[str]]:
        commands = [
            line.partition("  #")[0].rstrip() for line in re.findall(r"^    .+", text, re.M)
        ]
        return [commands, re.findall(r"\]\(([^)#\s]+)", text), re.findall(r"^#+ ", text, re.M)]

    english, chinese = (page.read_text(encoding="utf-8") for page in READMES)
    chinese = chinese.replace("(README.md)", "(README.zh-CN.md)")  # each leads to the other
    for there, here in zip(shape(english), shape(chinese), strict=True):
        assert sorted(there) == sorted(here)
    assert max(len(text.splitlines()) for text in (english, chinese)) <= 120


# ------------------------------------------------------- from here on: docs/format.md alone


@dataclass(frozen=True)
class Row:
    number: int
    ids: list[int]
    words: list[bool]
    sentences: list[bool]
    document: int = -1


def read_manifest(folder: Path) -> dict[str, Any]:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    seal = manifest.pop("xxh3_128")
    assert xxhash.xxh3_128_hexdigest(json.dumps(manifest, sort_keys=True).encode()) == seal
    return manifest


def read_index(folder: Path, part: str, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    data = (folder / part / "index.arrow").read_bytes()
    assert xxhash.xxh3_128_hexdigest(data) == manifest["parts"][part]["index_xxh3_128"]
    batches = pa.ipc.open_file(data).read_all().to_pylist()
    assert len(batches) == manifest["parts"][part]["batches"]
    return batches


def read_rows(folder: Path, part: str) -> Iterator[Row]:
    manifest = read_manifest(folder)
    shards = manifest["parts"][part]["shards"]
    wide = manifest["tokenizer"]["vocab_size"] > 1 << 16
    flags = pa.list_(pa.bool_())
    columns = {"input_ids": pa.list_(pa.uint32() if wide else pa.uint16()), "word_starts": flags}
    schema = pa.schema(columns | {"sentence_starts": flags, "document": pa.int64()})
    number = 0
    for batch in read_index(folder, part, manifest):
        shard = (folder / shards[batch["shard"]]["file"]).read_bytes()
        assert xxhash.xxh3_128_hexdigest(shard) == shards[batch["shard"]]["xxh3_128"]
        message = shard[batch["offset"] :][: batch["bytes"]]
        assert xxhash.xxh3_64_intdigest(message) == batch["xxh3_64"]
        rows = pa.ipc.read_record_batch(pa.ipc.read_message(message), schema).to_pylist()
        assert [len(row["input_ids"]) for row in rows] == batch["lengths"]
        for row in rows:
            yield Row(number, *row.values())
            number += 1


def philox(counter: tuple[int, ...], key: tuple[int, ...], bits: int) -> tuple[int, ...]:
    low = (1 << bits) - 1
    first, second, *weyl = (
        (0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85)
        if bits == 32
        else (0xD2E7470EE14C6C93, 0xCA5A826395121157, 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
    )
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        a, b = first * c0, second * c2
        c0, c1, c2, c3 = b >> bits ^ c1 ^ k0, b & low, a >> bits ^ c3 ^ k1, a & low
        k0, k1 = k0 + weyl[0] & low, k1 + weyl[1] & low
    return c0, c1, c2, c3


def permutation(count: int, seed: int, epoch: int, purpose: int, window: int) -> list[int]:
    stream: list[int] = []
    while len(stream) < count:
        stream += philox((len(stream) // 4 + 1, 0, window, purpose), (seed, epoch), 64)
    values = list(range(count))
    for i in range(count - 1, 0, -1):
        j = (stream[i] >> 32) * (i + 1) >> 32
        values[i], values[j] = values[j], values[i]
    return values


class Draws:
    """The random numbers of one row in one epoch."""

    def __init__(self, row: int, epoch: int, seed: int) -> None:
        low = (1 << 32) - 1
        self.rest, self.key = (epoch, row & low, row >> 32), (seed & low, seed >> 32)

    def block(self, purpose: int, number: int) -> tuple[int, ...]:
        return philox((purpose << 30 | number, *self.rest), self.key, 32)

    def token(self, i: int) -> int:
        group, bit = divmod(i, 64)
        number = 0
        for k in range(16):
            x = self.block(0, 4 * group + k) if k < 4 else self.block(1, 12 * group + k - 4)
            for word in (x[0] | x[1] << 32, x[2] | x[3] << 32):
                number = number << 1 | word >> bit & 1
        return number

    def structure(self, r: int) -> int:
        return self.block(3, 1 + r // 4)[r % 4]


def threshold(share: float) -> int:
    return round(share * 2**32)


def choose(strategy: str, words: list[bool], p: float, draws: Draws) -> list[int]:
    if strategy == "token":
        return [i for i in range(len(words)) if draws.token(i) < threshold(p)]
    firsts = [i for i, start in enumerate(words) if start]
    if strategy == "wwm":
        chosen = [draws.token(first) < threshold(p) for first in firsts]
    else:
        chosen = choose_runs(strategy, firsts, p, draws)
    ends = [*firsts[1:], len(words)]
    return [
        i
        for first, end, taken in zip(firsts, ends, chosen, strict=True)
        if taken
        for i in range(first, end)
    ]


def choose_runs(strategy: str, firsts: list[int], p: float, draws: Draws) -> list[bool]:
    shares = [0.8**k for k in range(10)] if strategy == "span" else [4, 3, 2, 1]
    shares = [share / sum(shares) for share in shares]
    mean = sum((k + 1) * share for k, share in enumerate(shares))
    rests = [sum(shares[k:]) / mean for k in range(len(shares))]
    numbers = iter(range(1, 1 << 20))

    def length(of: list[float]) -> int:
        u = draws.structure(next(numbers))
        return next((k for k in range(1, len(of)) if u < threshold(sum(of[:k]))), len(of))

    chosen = [True] * length(rests) if draws.structure(0) < threshold(p) else []
    while len(chosen) < len(firsts):
        chosen.append(False)
        while len(chosen) < len(firsts):
            if draws.token(firsts[len(chosen)]) < threshold(p / (mean * (1 - p))):
                chosen += [True] * length(shares)
                break
            chosen.append(False)
    return chosen[: len(firsts)]


def cut_in_two(rows: list[Row], place: int, draws: Draws, order: bool) -> tuple[Row, Row, int]:
    """The halves of a row and their label; an empty B and -100 where the row stays whole."""
    row = rows[place]
    cuts = [i for i, start in enumerate(row.sentences) if start and i > 0]
    if not cuts:
        return row, Row(0, [], [], []), -100
    x0, x1, x2, _ = draws.block(3, 0)
    cut = cuts[x0 * len(cuts) >> 32]
    a = Row(row.number, row.ids[:cut], row.words[:cut], [])
    b = Row(row.number, row.ids[cut:], row.words[cut:], [])
    documents = {row.document for row in rows}
    if x1 >= 1 << 31 or (not order and len(documents) == 1):
        return a, b, 0
    if order:
        return b, a, 1
    q = x2 * (len(rows) - 1) >> 32
    q += q >= place
    while rows[q].document == row.document:
        q = (q + 1) % len(rows)
    other = rows[q]
    return a, Row(0, other.ids[: len(b.ids)], other.words[: len(b.ids)], []), 1


def window_rows(
    rows: list[Row], batches: list[int], minimum: int, number: int, epoch: int, seed: int
) -> list[Row]:
    """The rows of a window in their permuted order; `batches` are the record batches' rows."""
    windows: list[list[int]] = [[]]
    for batch in permutation(len(batches), seed, epoch, 0, 0):
        if sum(batches[b] for b in windows[-1]) >= minimum:
            windows.append([])
        windows[-1].append(batch)
    if len(windows) > 1 and sum(batches[b] for b in windows[-1]) < minimum:
        left_over = windows.pop()
        windows[-1] += left_over
    begins = [sum(batches[:b]) for b in range(len(batches))]
    dealt = [rows[i] for b in windows[number] for i in range(begins[b], begins[b] + batches[b])]
    return [dealt[i] for i in permutation(len(dealt), seed, epoch, 1, number)]


def plan_packs(
    lengths: list[int], capacity: int, number: int, epoch: int, seed: int
) -> list[list[int]]:
    """Places in a window, pack after pack, in the order in which packs are handed out."""
    packs: list[list[int]] = []
    rooms: list[tuple[int, int, int]] = []  # room, minus the time it came to it, pack
    for time, place in enumerate(sorted(range(len(lengths)), key=lambda i: -lengths[i])):
        fitting = min((room for room in rooms if room[0] >= lengths[place]), default=None)
        if fitting is None:
            fitting = (capacity, 0, len(packs))
            packs.append([])
        else:
            rooms.remove(fitting)
        packs[fitting[2]].append(place)
        rooms.append((fitting[0] - lengths[place], -time, fitting[2]))
    return [packs[i] for i in permutation(len(packs), seed, epoch, 2, number)]


def plan_padded(
    lengths: list[int], capacity: int, max_length: int, number: int, epoch: int, seed: int
) -> list[list[int]]:
    """The same of padded batches."""
    left = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batches: list[list[int]] = []
    while left:
        rows = capacity // min(-(-lengths[left[0]] // 8) * 8, max_length)
        batches.append(left[:rows])
        left = left[rows:]
    return [batches[i] for i in permutation(len(batches), seed, epoch, 2, number)]


@dataclass
class Pack:
    seen: list[int]
    positions: list[int]
    labels: list[int]
    pair_labels: list[int]


@dataclass(frozen=True)
class PackMaker:
    """Lays rows out and masks them."""

    special: dict[str, Any]
    """The manifest's entry of the tokenizer."""
    strategy: str
    p: float

    def add(self, pack: Pack, a: Row, b: Row, draws: Draws) -> None:
        middle = self.special["middle"] if b.ids else []
        prefix, suffix = self.special["prefix"], self.special["suffix"]
        first = len(pack.seen) + len(prefix)
        pack.seen += [*prefix, *a.ids, *middle, *b.ids, *suffix]
        chosen = choose(self.strategy, a.words + b.words, self.p, draws)
        for j, i in enumerate(chosen):
            at = first + i + (len(middle) if i >= len(a.ids) else 0)
            pack.positions.append(at)
            pack.labels.append(pack.seen[at])
            block = draws.block(2, j // 2)
            pack.seen[at] = self.replace(pack.seen[at], *block[2 * (j % 2) :][:2])

    def replace(self, token: int, first: int, second: int) -> int:
        if first < threshold(0.8):
            return self.special["mask_id"]
        if first >= threshold(0.8 + 0.1):
            return token
        special = self.special["special_ids"]
        plain = [i for i in range(self.special["vocab_size"]) if i not in special]
        return plain[second * len(plain) >> 32]


# ------------------------------------------------------------------------ page and program


def test_a_reader_of_the_page_finds_the_rows(built):
    folder, manifest = built
    for part in manifest.parts:
        dataset = ShardDataset(folder, part)
        rows = list(read_rows(folder, part))
        assert len(rows) == len(dataset) > 0
        for row in rows:
            ids, words, sentences = dataset.row(row.number)
            assert row.ids == ids.tolist()
            assert (row.words, row.sentences) == (words.tolist(), sentences.tolist())


def assert_same_micro_batches(folder: Path, options: LoaderOptions, cursor: Cursor) -> None:
    """Compare step 1 of 3, were it to begin at `cursor`, with what the page says."""
    step = next(Loader(ShardDataset(folder, "train"), options).steps(cursor, 1, 3))
    manifest = read_manifest(folder)
    special = manifest["tokenizer"]
    has_pairs = options.sentence_order or options.next_sentence
    middle = special["middle"] if has_pairs else []
    extra = len(special["prefix"]) + len(middle) + len(special["suffix"])
    batches = [batch["rows"] for batch in read_index(folder, "train", manifest)]
    place = (cursor.window, cursor.epoch, options.seed)
    window = window_rows(list(read_rows(folder, "train")), batches, options.window, *place)
    capacity = options.micro_batch_size * options.max_length
    lengths = [len(row.ids) + extra for row in window]
    packs = plan_packs(lengths, capacity, *place)
    if options.layout == "padded":
        packs = plan_padded(lengths, capacity, options.max_length, *place)
    start, end = options.mlm_probability
    maker = PackMaker(special, options.masking, start + (end - start) / 2)
    assert len(packs) >= len(step.micro_batches) == 2
    for batch, places in zip(step.micro_batches, packs, strict=False):
        pack = Pack([], [], [], [])
        for r in places:
            draws = Draws(window[r].number, cursor.epoch, options.seed)
            a, b, label = window[r], Row(0, [], [], []), -100
            if has_pairs:
                a, b, label = cut_in_two(window, r, draws, options.sentence_order)
            maker.add(pack, a, b, draws)
            pack.pair_labels.append(label)
        assert batch.rows == len(places) and batch.tokens == len(pack.seen)
        real = batch.attention_mask == 1 if options.layout == "padded" else np.s_[0, : batch.tokens]
        np.testing.assert_array_equal(batch.input_ids[real], pack.seen)
        if options.layout == "packed":
            np.testing.assert_array_equal(batch.positions, pack.positions)
        np.testing.assert_array_equal(batch.labels, pack.labels)
        if has_pairs:
            np.testing.assert_array_equal(batch.pair_labels, pack.pair_labels)


@pytest.mark.parametrize(
    ("strategy", "layout"),
    [("wwm", "packed"), ("token", "padded"), ("span", "packed"), ("ngram", "packed")],
)
def test_a_masker_of_the_page_finds_the_micro_batches(built, strategy, layout):
    folder, manifest = built
    options = LoaderOptions(
        micro_batch_size=8,
        max_length=manifest.max_length,
        accumulation=2,
        seed=SEED,
        layout=layout,
        masking=strategy,
        mlm_probability=(0.5, 0.3),
        window=100,
    )
    # The last window of this epoch, which another that would be too small has joined.
    assert_same_micro_batches(folder, options, Cursor(epoch=3, window=2))


@pytest.mark.parametrize("objective", ["sentence_order", "next_sentence"])
def test_a_masker_of_the_page_finds_the_pairs(tmp_path, objective):
    make_shards(tmp_path, ShardSpec(pairs=True, max_length=300))
    options = LoaderOptions(4, 300, accumulation=2, seed=SEED, **{objective: True})
    assert_same_micro_batches(tmp_path, options, Cursor(epoch=1))
