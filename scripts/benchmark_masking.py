"""Masking and collating, in tokens a second: ours, transformers' collators, the older algorithm.

    python scripts/benchmark_masking.py [--data shards] [--json FILE]

Everyone gets the same rows, prepared outside the clock as they like them, and the best of several
batch sizes. Ours goes from the mapped shards to finished packs. Without ./shards, they are built
from the sample into a temporary folder.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from preprocess.errors import WholewordError  # noqa: E402
from preprocess.kernels import kernel  # noqa: E402
from preprocess.read.unicode import is_han  # noqa: E402
from scripts.benchmark_report import (  # noqa: E402
    Result,
    best_rate,
    shards_folder,
    show,
    write_json,
)
from train.data.collate import Collator, count_up, make_buffers, place_row  # noqa: E402
from train.data.masking import STRATEGIES, make_masking, settings_array  # noqa: E402
from train.data.shard_dataset import ShardDataset  # noqa: E402
from train.data.windows import Assembler, LoaderOptions  # noqa: E402

PEER_ROWS = 64
PROBABILITY = 0.15
SECONDS = 0.4


class Ours:
    """Packs of a dataset's first window, ready to be collated."""

    def __init__(self, dataset: ShardDataset, micro_batch_size: int) -> None:
        self.options = LoaderOptions(micro_batch_size, dataset.manifest.max_length)
        batches = np.arange(min(dataset.batches, 4))
        assembler = Assembler(dataset, self.options)
        self._window = assembler.open(0, 0, batches, shuffle=True)
        assembler.locate(self._window, np.arange(len(self._window.table)))
        plan = self._window.plan
        self.tables = [self._window.table[plan.pack(number)] for number in range(len(plan))]
        self.size = micro_batch_size * dataset.manifest.max_length
        self.tokens = int(self._window.lengths.sum())
        self.dataset = dataset

    def collate(self, strategy: str) -> Callable[[], int]:
        """A function that masks all packs afresh, and returns their tokens."""
        collator = Collator(self.dataset.manifest)
        buffers = make_buffers(self.size, max(map(len, self.tables)))
        masking = make_masking(strategy, PROBABILITY)
        epoch = 0

        def run() -> int:
            nonlocal epoch
            epoch += 1
            for table in self.tables:
                collator.pack(table, buffers, self.size, masking, 0, epoch)
            return self.tokens

        return run

    def copy(self) -> Callable[[], int]:
        """A function that only gathers rows, special tokens and positions."""
        tokenizer = self.dataset.manifest.tokenizer
        special = tuple(
            np.array(ids, np.int64)
            for ids in (tokenizer.prefix, tokenizer.middle, tokenizer.suffix)
        )
        wide = self.dataset.manifest.id_dtype.itemsize == 4
        masking = settings_array(make_masking("wwm", PROBABILITY), 0, 0, tokenizer.mask_id)
        settings = np.concatenate([masking, np.array([wide, 0, 0, 0], np.uint64)])
        buffers = make_buffers(self.size, max(map(len, self.tables)))

        def run() -> int:
            for table in self.tables:
                copy_rows(table, settings, special, buffers)
            return self.tokens

        return run


@kernel
def copy_rows(table, settings, special, buffers):  # type: ignore[no-untyped-def]
    """What is left of collating when nothing is masked."""
    end = 0
    prefix, middle, suffix = special
    for r in range(len(table)):
        begin = end
        end = place_row(
            table,
            r,
            begin,
            settings,
            prefix,
            middle,
            suffix,
            buffers.input_ids,
            buffers.token_type_ids,
        )
        count_up(buffers.position_ids[begin:end], 0)


def one_thread(run: Callable[[], int]) -> float:
    """Tokens a second of processor time."""
    return best_rate(run, SECONDS, clock=time.thread_time)


def all_threads(runs: list[Callable[[], int]]) -> Callable[[], int]:
    """A function that makes every run in a thread of its own, eight times."""
    pool = ThreadPoolExecutor(len(runs))

    def repeated(run: Callable[[], int]) -> int:
        return sum(run() for _ in range(8))

    return lambda: sum(pool.map(repeated, runs))


@dataclass(frozen=True)
class PeerRow:
    """A row as the peers take it."""

    features: dict[str, list[Any]]
    """What the tokenizer returned."""
    continued: list[int]
    """`chinese_ref`: places of the characters that continue a word."""


def peer_rows(dataset: ShardDataset, tokenizer: Any) -> list[PeerRow]:
    """Rows of all lengths, the longest first (peers pad little then); as text, tokenized again."""
    by_length = np.argsort(-dataset.lengths.astype(np.int64), kind="stable")
    places = np.linspace(0, len(by_length) - 1, min(PEER_ROWS, len(by_length))).astype(np.int64)
    rows = []
    for number in by_length[places]:
        ids, starts, _ = dataset.row(int(number))
        pieces = tokenizer.convert_ids_to_tokens(ids.tolist())
        features = tokenizer(
            _text(pieces),
            truncation=True,
            max_length=dataset.manifest.max_length,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        ends = np.append(np.flatnonzero(starts)[1:], len(ids))
        spans = zip(np.flatnonzero(starts), ends, strict=True)
        words = {"".join(pieces[begin:end]) for begin, end in spans if end - begin > 1}
        tokens = tokenizer.convert_ids_to_tokens(features["input_ids"])
        rows.append(PeerRow(dict(features), chinese_ref(tokens, words)))
    return rows


def _text(pieces: list[str]) -> str:
    text = ""
    for piece in pieces:
        plain = piece.removeprefix("##")
        spaced = plain == piece and text and not is_han(text[-1]) and not is_han(plain[0])
        text += f" {plain}" if spaced else plain
    return text


def chinese_ref(tokens: list[str], words: set[str]) -> list[int]:
    """Places of tokens that continue a Chinese word, found as BERT-wwm's scripts find them.

    A word is the longest run of tokens, from the left, whose text is in the *set* of the row's
    words; so a word may be found where the segmenter did not see one.
    """
    longest = max(map(len, words), default=1)
    places = []
    begin = 0
    while begin < len(tokens):
        length = 1
        if is_han(tokens[begin][0]):
            for candidate in range(min(len(tokens) - begin, longest), 1, -1):
                if "".join(tokens[begin : begin + candidate]) in words:
                    places.extend(range(begin + 1, begin + candidate))
                    length = candidate
                    break
        begin += length
    return places


class ChineseRefCollator:
    """The older algorithm of Chinese BERT-wwm (Cui et al. 2019), which transformers 4 shipped.

    Tokens become strings again, those of `chinese_ref` get a `##`, candidate words are gathered by
    that mark, shuffled, and taken until the quota of the row is full.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._random = random.Random(0)

    def __call__(self, rows: list[PeerRow]) -> tuple[np.ndarray, np.ndarray]:
        """Padded ids, masked, and labels (-100 where nothing was chosen)."""
        width = max(len(row.features["input_ids"]) for row in rows)
        ids = np.full((len(rows), width), self._tokenizer.pad_token_id, np.int64)
        chosen = np.zeros((len(rows), width), np.bool_)
        for line, row in enumerate(rows):
            own = row.features["input_ids"]
            ids[line, : len(own)] = own
            chosen[line, : len(own)] = self._choose(own, row.continued)
        labels = np.where(chosen, ids, -100)
        draws = np.random.random(ids.shape)
        ids[chosen & (draws < 0.8)] = self._tokenizer.mask_token_id
        other = chosen & (draws >= 0.9)
        ids[other] = np.random.randint(len(self._tokenizer), size=int(other.sum()))
        return ids, labels

    def _choose(self, ids: list[int], continued: list[int]) -> list[bool]:
        tokens = self._tokenizer.convert_ids_to_tokens(ids)
        for place in continued:
            tokens[place] = "##" + tokens[place]
        candidates: list[list[int]] = []
        for place, token in enumerate(tokens):
            if token in ("[CLS]", "[SEP]"):
                continue
            if candidates and token.startswith("##"):
                candidates[-1].append(place)
            else:
                candidates.append([place])
        self._random.shuffle(candidates)
        quota = min(512, max(1, round(len(tokens) * PROBABILITY)))
        chosen = [False] * len(tokens)
        taken = 0
        for word in candidates:
            if taken >= quota:
                break
            if taken + len(word) > quota:
                continue
            taken += len(word)
            for place in word:
                chosen[place] = True
        return chosen


def best_batch(
    rows: list[PeerRow],
    sizes: list[int],
    prepare: Callable[[list[PeerRow]], list[Any]],
    run: Callable[[list[Any]], Any],
) -> float:
    """Tokens a second of a peer at the best of several batch sizes; `prepare` is not timed."""
    tokens = sum(len(row.features["input_ids"]) for row in rows)
    best = 0.0
    for size in sizes:
        batches = [prepare(rows[begin : begin + size]) for begin in range(0, len(rows), size)]

        def once(batches: list[list[Any]] = batches) -> int:
            for batch in batches:
                run(batch)
            return tokens

        best = max(best, best_rate(once, SECONDS, 2, time.thread_time))
    return best


def padded_features(rows: list[PeerRow], keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Features of one width, because transformers' collator cannot pad offsets itself."""
    width = max(len(row.features["input_ids"]) for row in rows)
    fill = {"special_tokens_mask": 1, "offset_mapping": (0, 0)}
    return [
        {
            key: list(row.features[key]) + [fill.get(key, 0)] * (width - len(row.features[key]))
            for key in keys
        }
        for row in rows
    ]


def transformers_rates(rows: list[PeerRow], tokenizer: Any) -> tuple[float, float, list[str]]:
    """Rates of transformers' collator with and without whole words, and what it does wrong."""
    from transformers import DataCollatorForLanguageModeling

    keys: tuple[str, ...] = ("input_ids", "attention_mask", "special_tokens_mask")
    by_token = DataCollatorForLanguageModeling(tokenizer, mlm_probability=PROBABILITY)
    token_rate = best_batch(
        rows,
        [8, 32, 64],
        lambda batch: [{key: row.features[key] for key in keys} for row in batch],
        by_token,
    )
    by_word = DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=PROBABILITY, whole_word_mask=True, mask_replace_prob=1.0,
        random_replace_prob=0.0,
    )  # fmt: skip
    keys = (*keys, "offset_mapping")
    word_rate = best_batch(rows, [1, 2, 8], lambda batch: padded_features(batch, keys), by_word)
    features = padded_features(rows[:8], keys)
    first = by_word(features)
    offsets, special = (
        np.array([row[key] for row in features])
        for key in ("offset_mapping", "special_tokens_mask")
    )
    _, no_start = by_word._calc_word_ids_and_prob_mask(offsets, special)
    length = (special == 0).sum() / max(1, (~no_start).sum())
    chosen = first["labels"] != -100
    as_mask = (first["input_ids"][chosen] == tokenizer.mask_token_id).float().mean()
    return (
        token_rate,
        word_rate,
        [
            "transformers' whole_word_mask takes text without spaces as one word: here its words "
            f"have {length:.1f} tokens on average, so Chinese is masked by whole stretches.",
            f"It has no 80/10/10: {100 * as_mask:.0f}% of what it chose became [MASK]; its cost "
            "grows with the square of the length.",
        ],
    )


def measure(folder: Path) -> tuple[dict[str, Result], list[str]]:
    """All figures, and notes."""
    import torch
    from transformers import AutoTokenizer

    torch.set_num_threads(1)
    dataset = ShardDataset(folder, "train")
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    threads = len(os.sched_getaffinity(0))
    ours = max(
        (Ours(dataset, size) for size in (8, 32, 64)),
        key=lambda packs: best_rate(packs.collate("wwm"), 0.1, clock=time.thread_time),
    )
    unit = "tokens/s"
    results = {"copy_limit": Result(one_thread(ours.copy()), unit)}
    for strategy in STRATEGIES:
        key = f"{strategy}_collate"
        results[key] = Result(one_thread(ours.collate(strategy)), unit)
        if threads > 1:
            run = all_threads([ours.collate(strategy) for _ in range(threads)])
            results[f"{key}_all"] = Result(best_rate(run, SECONDS), unit, threads)
    rows = peer_rows(dataset, tokenizer)
    token_rate, word_rate, notes = transformers_rates(rows, tokenizer)
    results["transformers_token"] = Result(token_rate, unit)
    results["transformers_wwm"] = Result(word_rate, unit)
    reference = best_batch(rows, [1, 8, 64], list, ChineseRefCollator(tokenizer))
    results["chinese_ref"] = Result(reference, unit)
    return results, [
        f"{len(dataset)} rows, {dataset.lengths.mean():.0f} tokens each; packs of {ours.size}.",
        "one thread: tokens a second of processor time; all threads: of the clock on the wall.",
        "copy_limit gathers rows, special tokens and positions as ours does, and masks nothing.",
        *notes,
        "chinese_ref keeps words in a set and finds them again from the left; its marking of words "
        "is outside the clock.",
    ]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="shards folder; default ./shards")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    try:
        with shards_folder(arguments.data) as folder:
            results, notes = measure(folder)
    except WholewordError as error:
        sys.exit(f"error: {error}")
    ours = results["wwm_collate"].value
    rows = [
        [key, f"{result.value / 1e6:,.2f}", str(result.threads), f"{ours / result.value:,.2f}"]
        for key, result in results.items()
    ]
    show("Masking and collating", ["what", "Mtokens/s", "threads", "wwm_collate is"], rows, notes)
    write_json(arguments.json, "masking", results)


if __name__ == "__main__":
    main()
