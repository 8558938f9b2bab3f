"""What the model sees: the first rows of a real micro-batch as coloured text."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
from rich.console import Console
from rich.text import Text

from preprocess.errors import WholewordError
from preprocess.write.manifest import TokenizerEntry
from train.data.bits import load_bits
from train.data.collate import BITS_A, BITS_B, ROW, TOKENS_A, TOKENS_B, MicroBatch
from train.data.order import epoch_windows
from train.data.shard_dataset import ShardDataset
from train.data.windows import Assembler, Cursor, LoaderOptions, Pack

STYLES = {"masked": "bold red", "replaced": "bold magenta", "kept": "bold green"}


@dataclass(frozen=True)
class _Token:
    """One token of a row."""

    text: str
    """The original."""
    seen: str
    """What the model sees."""
    fate: str | None
    """A key of `STYLES`, or None if the token was not chosen."""
    starts_word: bool


def preview(data: Path, rows: int, options: LoaderOptions) -> None:
    """Print rows of the first training micro-batch: words apart, masks in braces and in colour.

    Args:
        data: a finished shards folder.
        rows: how many rows, at most.
        options: what micro-batches are made of.

    Raises:
        WholewordError: the shards or their tokenizer cannot be read, or the options do not fit.
    """
    dataset = ShardDataset(data, "train")
    tokenizer = _load_tokenizer(dataset.folder / "tokenizer" / "tokenizer.json")
    if not len(dataset):
        raise WholewordError(f"{data}: the train part has no rows; build shards from more text")
    table, batch = _first_batch(dataset, options)
    mask_id = dataset.manifest.tokenizer.mask_id

    def text(token_id: int) -> str:
        return tokenizer.decode([token_id], skip_special_tokens=False).removeprefix("##")

    console = Console()
    shown = min(rows, batch.rows)
    for number in range(shown):
        begin, end = _bounds(batch, number)
        console.print(
            f"row {table[number, ROW]} of the dataset, {end - begin} tokens", style="bold"
        )
        starts = _word_starts(table[number], dataset.manifest.tokenizer)
        console.print(_coloured(_tokens(batch, begin, starts, text, mask_id)))
        console.print()
    console.print(_summary(batch, shown, options.mlm_probability[0]), soft_wrap=True)
    console.print(_legend(batch, mask_id), soft_wrap=True)


def _load_tokenizer(path: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise WholewordError(f"{path}: cannot be read ({error}); build the shards again") from error


def _first_batch(dataset: ShardDataset, options: LoaderOptions) -> tuple[np.ndarray, MicroBatch]:
    """The table of the first pack's rows, and its micro-batch."""
    assembler = Assembler(dataset, options)
    windows = epoch_windows(dataset.batch_rows, options.seed, 0, options.window)
    window = assembler.open(0, 0, windows[0], shuffle=True)
    pack = Pack(window, 0, Cursor())
    batch = assembler.micro_batch(pack, options.masking_at(0, 2), assembler.buffers())
    return window.table[window.plan.pack(0)], batch


def _bounds(batch: MicroBatch, number: int) -> tuple[int, int]:
    """Where a row's tokens lie in the batch."""
    if batch.cu_seqlens is not None:
        return int(batch.cu_seqlens[number]), int(batch.cu_seqlens[number + 1])
    assert batch.attention_mask is not None
    begin = number * batch.input_ids.shape[1]
    return begin, begin + int(batch.attention_mask[number].sum())


def _word_starts(row: np.ndarray, special: TokenizerEntry) -> list[bool]:
    """Whether each token of a laid out row starts a word; special tokens stand for themselves."""

    def bits(address: int, count: int) -> list[bool]:
        return [bool(load_bits(address + i, 1)) for i in range(count)]

    starts = [True] * len(special.prefix) + bits(int(row[BITS_A]), int(row[TOKENS_A]))
    if row[TOKENS_B]:
        starts += [True] * len(special.middle) + bits(int(row[BITS_B]), int(row[TOKENS_B]))
    return starts + [True] * len(special.suffix)


def _tokens(
    batch: MicroBatch,
    begin: int,
    starts: list[bool],
    text: Callable[[int], str],
    mask_id: int,
) -> Iterator[_Token]:
    """The tokens of the row that begins at `begin`; `text` says an id's."""
    seen_ids = batch.input_ids.reshape(-1)
    labels = dict(zip(batch.positions.tolist(), batch.labels.tolist(), strict=True))
    for place, starts_word in enumerate(starts, start=begin):
        seen = int(seen_ids[place])
        label = labels.get(place)
        fate = None
        if label is not None:
            fate = "kept" if seen == label else "masked" if seen == mask_id else "replaced"
        yield _Token(text(seen if label is None else label), text(seen), fate, starts_word)


def _coloured(tokens: Iterator[_Token]) -> Text:
    """Words apart; a replaced token shows what stands in its place."""
    line = Text()
    for token in tokens:
        if token.starts_word and line:
            line.append(" ")
        if token.fate is None:
            line.append(token.text)
        else:
            line.append(_mark(token.fate, token.text, token.seen), STYLES[token.fate])
    return line


def _mark(fate: str, text: str, seen: str) -> str:
    """A chosen token so that it stands out in plain text too."""
    return {"masked": f"{{{text}}}", "replaced": f"{{{text}→{seen}}}", "kept": f"{{{text}=}}"}[fate]


def _summary(batch: MicroBatch, shown: int, expected: float) -> Text:
    """How much of the whole batch is chosen; `shown` rows of it are seen, `expected` is asked."""
    rows = f"{batch.rows} rows"
    if shown < batch.rows:
        rows = f"{shown} of {rows} of the micro-batch; in all of them"
    share = len(batch.positions) / max(1, batch.tokens)
    return Text(
        f"{rows}, {batch.tokens} tokens, {share:.1%} chosen by chance ({expected:.1%} on average):"
    )


def _legend(batch: MicroBatch, mask_id: int) -> Text:
    """The marks, with the shares of the whole batch's chosen tokens."""
    seen = batch.input_ids.reshape(-1)[batch.positions]
    kept = seen == batch.labels
    masked = ~kept & (seen == mask_id)
    counts = {"masked": masked.sum(), "kept": kept.sum(), "replaced": (~kept & ~masked).sum()}
    chosen = max(1, len(seen))
    line = Text()
    for name, style in STYLES.items():
        line.append(f"{_mark(name, name, 'another')} {100 * counts[name] / chosen:.0f}%", style)
        line.append("  ")
    line.rstrip()
    return line
