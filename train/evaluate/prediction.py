"""Fill masks in lines of text: what the original system's test mode did.

Every line has whole words masked, and the model's likeliest token put in the place of each mask.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import tokenizers
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preprocess.console import warn
from preprocess.encode.auto_segmenter import choose_segmenter
from preprocess.encode.encoders import choose_encoder, make_encoder
from preprocess.encode.protocol import Encoder, EncoderSpec
from preprocess.encode.segmenters import parse_segmenter
from preprocess.encode.tokenizer import LoadedTokenizer, SpecialTokens, load_backend
from preprocess.errors import WholewordError
from preprocess.files import written
from train.evaluate.text_file import read_lines
from train.model.loss import mlm_logits
from train.model.vocabulary_check import position_offset

CSV_COLUMNS = ("src", "pred", "mask")
_LINES = 64  # lines that go through the model together


@dataclass(frozen=True)
class Prediction:
    """One line."""

    source: str
    """The line."""
    predicted: str
    """The line with the model's tokens where they differ from the line's."""
    masked: str
    """The line with masks."""
    tokens: int
    """How many tokens were masked."""
    correct: int
    """How many of them the model found."""
    pieces: tuple[tuple[str, bool | None], ...] = ()
    """`predicted`, cut up, and whether a piece is a token that was found; None: not masked."""


@dataclass(frozen=True)
class Summary:
    """Over all lines: shares are of lines with a masked token, and of masked tokens."""

    lines: int
    exact_match: float
    token_accuracy: float


def read_samples(path: Path) -> list[str]:
    """The lines of a text file that hold more than white space.

    Raises:
        WholewordError: the file is missing, has no such line, or no line feed among its lines.
    """
    lines = [line for line in read_lines(path, "a text file", damaged=True) if line.strip()]
    if not lines:
        raise WholewordError(f"{path}: has no text; name a file with a sample a line")
    return lines


def warn_of_masks(lines: list[str], tokenizer: LoadedTokenizer) -> None:
    """Say that masks which stand in the text already are not filled in."""
    mask = tokenizers.Tokenizer.from_str(tokenizer.json).id_to_token(tokenizer.special.mask_id)
    count = sum(mask in line for line in lines) if mask else 0
    if count:
        warn(
            f"{count:,} of {len(lines):,} lines hold {mask} as text, which stays: predict masks "
            'words itself (--words says which); transformers\' pipeline("fill-mask") fills yours'
        )


def encoder_for(
    tokenizer: LoadedTokenizer, segmenter: str, lines: list[str], user_dicts: tuple[str, ...] = ()
) -> Encoder:
    """What build-shards would encode these lines with."""
    if segmenter == "auto":
        unk_id = tokenizer.special.unk_id
        segmenter, _ = choose_segmenter(lines[:1000], tokenizer.json, unk_id, bool(user_dicts))
    spec = parse_segmenter(segmenter, user_dicts, True)
    kind, _ = choose_encoder("auto", tokenizer.json, spec)
    return make_encoder(EncoderSpec(tokenizer.json, spec, kind))


def predict(
    model: PreTrainedModel,
    tokenizer: LoadedTokenizer,
    encoder: Encoder,
    lines: list[str],
    probability: float,
    seed: int,
    words: tuple[str, ...] = (),
) -> Iterator[Prediction]:
    """Mask and fill every line.

    Each word is masked with `probability`, and one word at least; every token of it becomes the
    mask. Which words depends on the seed and the line's number alone. Where `words` are given,
    these are masked instead, wherever they stand. A line that is longer than the model's positions
    goes through it in parts.

    Args:
        model: prepared by `prepare_padded`.
        tokenizer: the model's.
        encoder: says where the lines' words begin.
        lines: the text.
        probability: expected share of masked tokens.
        seed: decides which words.
        words: what to mask.

    Raises:
        WholewordError: none of the words stands in a line.
    """
    found_any = not words
    renderer = _Renderer(tokenizer)
    for first in range(0, len(lines), _LINES):
        part = lines[first : first + _LINES]
        encoded = encoder.encode(pa.array(part, pa.large_string()))
        spans = list(zip(encoded.offsets[:-1], encoded.offsets[1:], strict=True))
        ids = [encoded.ids[a:b].astype(np.int64) for a, b in spans]
        chosen = [
            _choose(encoded.word_starts[a:b], probability, [seed, first + number])
            for number, (a, b) in enumerate(spans)
        ]
        if words:
            chosen = [
                _choose_named(*renderer.locate(line, truth), words)
                for line, truth in zip(part, ids, strict=True)
            ]
            found_any = found_any or any(places.any() for places in chosen)
        filled = _fill(model, tokenizer.special, ids, chosen)
        for line, truth, places, found in zip(part, ids, chosen, filled, strict=True):
            yield renderer.render(line, truth, places, found)
    if not found_any:
        raise WholewordError(f"--words {','.join(words)}: none of these stands in a line")


def summarize(predictions: list[Prediction]) -> Summary:
    """Exact match and token accuracy."""
    asked = [p for p in predictions if p.tokens]
    tokens = sum(p.tokens for p in asked)
    return Summary(
        lines=len(predictions),
        exact_match=sum(p.correct == p.tokens for p in asked) / max(len(asked), 1),
        token_accuracy=sum(p.correct for p in asked) / max(tokens, 1),
    )


def write_csv(path: Path, predictions: list[Prediction]) -> None:
    """Write the columns src, pred, mask; the file is whole or absent."""
    try:
        with written(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(CSV_COLUMNS)
            writer.writerows((p.source, p.predicted, p.masked) for p in predictions)
    except OSError as error:
        raise WholewordError(f"{path}: cannot be written ({error.strerror})") from error


def _choose(word_starts: np.ndarray, probability: float, seed: list[int]) -> np.ndarray:
    """Bool `[tokens]`: the tokens of words that are masked."""
    if not len(word_starts):
        return np.zeros(0, bool)
    word = np.cumsum(word_starts) - 1
    draws = np.random.default_rng(seed).random(word[-1] + 1)
    return (draws < max(probability, draws.min() + 1e-12))[word]


def _choose_named(text: str, spans: list[tuple[int, int]], words: tuple[str, ...]) -> np.ndarray:
    """Bool `[tokens]`: the tokens that lie in one of the words, wherever it stands in the text."""
    pattern = re.compile("|".join(re.escape(word) for word in sorted(words, key=len)[::-1]))
    named = [match.span() for match in pattern.finditer(text)]
    return np.array(
        [any(a <= start < stop <= b for a, b in named) for start, stop in spans], dtype=bool
    )


def _fill(
    model: PreTrainedModel, special: SpecialTokens, ids: list[np.ndarray], chosen: list[np.ndarray]
) -> list[np.ndarray]:
    """The likeliest ids at the chosen places of each line."""
    room = int(model.config.max_position_embeddings) - position_offset(model)
    room -= len(special.prefix) + len(special.suffix)
    rows, masks = [], []
    for line, places in zip(ids, chosen, strict=True):
        masked = np.where(places, special.mask_id, line)
        for start in range(0, len(line), room):
            inside = masked[start : start + room].tolist()
            rows.append([*special.prefix, *inside, *special.suffix])
            inner = places[start : start + room].tolist()
            masks.append([*[0] * len(special.prefix), *inner, *[0] * len(special.suffix)])
    if not rows:  # no line has a token
        return list(ids)
    found = _likeliest(model, _rectangle(rows, special.pad_id), _rectangle(masks, 0).bool(), rows)
    ends = np.cumsum([int(places.sum()) for places in chosen])
    return np.split(found, ends[:-1])


def _likeliest(
    model: PreTrainedModel, input_ids: Tensor, masked: Tensor, rows: list[list[int]]
) -> np.ndarray:
    attention_mask = _rectangle([[1] * len(row) for row in rows], 0)
    with torch.inference_mode():
        output = model(
            input_ids=input_ids.to(model.device),
            attention_mask=attention_mask.to(model.device),
            masked_positions=masked.flatten().nonzero().flatten().to(model.device),
        )
    return mlm_logits(output).argmax(dim=-1).cpu().numpy()


def _rectangle(rows: list[list[int]], fill: int) -> Tensor:
    width = max((len(row) for row in rows), default=0)
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], dtype=torch.long)


class _Renderer:
    """Puts masks and predictions into a line's own text, by the tokenizer's character offsets."""

    def __init__(self, tokenizer: LoadedTokenizer) -> None:
        self._backend = load_backend(tokenizer.json)
        self._source: PreTrainedTokenizerBase = tokenizer.source

    def render(
        self, line: str, ids: np.ndarray, places: np.ndarray, found: np.ndarray
    ) -> Prediction:
        predicted = ids.copy()
        predicted[places] = found
        text, spans = self.locate(line, ids)
        mask = str(self._source.mask_token)
        masked = {int(i): mask for i in places.nonzero()[0]}
        wrong = {int(i): self._text(int(predicted[i])) for i in (predicted != ids).nonzero()[0]}
        pieces = (
            (piece, token not in wrong if token in masked else None)
            for piece, token in _pieces(text, spans, wrong)
        )
        return Prediction(
            source=line,
            predicted=_splice(text, spans, wrong),
            masked=_splice(text, spans, masked),
            tokens=len(masked),
            correct=len(masked) - len(wrong),
            pieces=tuple(pieces),
        )

    def locate(self, line: str, ids: np.ndarray) -> tuple[str, list[tuple[int, int]]]:
        """The text that a line's tokens lie in, and where each lies in it."""
        encoding = self._backend.encode(line, add_special_tokens=False)
        if encoding.ids == ids.tolist():
            return line, encoding.offsets
        return self._plain(ids)  # the segmenter has taken marks out of the text

    def _text(self, token: int) -> str:
        return str(self._source.decode([token])).strip().removeprefix("##")

    def _plain(self, ids: np.ndarray) -> tuple[str, list[tuple[int, int]]]:
        """Text made of the tokens alone, and where each lies in it."""
        pieces = [self._text(int(token)) for token in ids]
        ends = np.cumsum([len(piece) for piece in pieces]).tolist()
        return "".join(pieces), list(zip([0, *ends], ends, strict=False))


def _splice(text: str, spans: list[tuple[int, int]], replaced: dict[int, str]) -> str:
    """Replace the spans of some tokens."""
    return "".join(piece for piece, _ in _pieces(text, spans, replaced))


def _pieces(
    text: str, spans: list[tuple[int, int]], replaced: dict[int, str]
) -> Iterator[tuple[str, int]]:
    """The text cut up, some tokens replaced: pieces and their tokens; -1 for what is between them.

    Spans ascend and may overlap (bytes of one character).
    """
    end = 0
    for token, (start, stop) in enumerate(spans):
        yield text[end:start], -1
        yield replaced.get(token, text[max(start, end) : stop]), token
        end = max(end, stop)
    yield text[end:], -1
