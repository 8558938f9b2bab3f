"""`train-vocab`: a tokenizer from text, WordPiece, byte-level BPE or Unigram."""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer

from preprocess.console import warn
from preprocess.errors import WholewordError
from preprocess.files import publish, sync_tree
from preprocess.read.cutting import default_split_size, plan_tasks
from preprocess.read.documents import read_task
from preprocess.read.encodings import check_encoding
from preprocess.read.input_files import find_inputs
from preprocess.read.sources import InputFile, ReadOptions
from preprocess.read.unicode import is_han
from preprocess.vocabulary_families import (
    BERT_TOKENS,
    DEFAULT_FAMILY,
    FAMILIES,
    Family,
    input_names,
    wrap,
)
from preprocess.vocabulary_models import (
    BYTES,
    count_words,
    train_bpe,
    train_unigram,
    unigram_backend,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIAL_TOKENS = BERT_TOKENS
MIN_FREQUENCY = 2
MAX_ENTRIES = 1_000_000
READING = ReadOptions()
OTHER_CHARACTERS = 1000
"""How many characters that are not Chinese get an entry at least, the most frequent first."""
OTHER_SHARE = 4
"""A quarter of the entries that Chinese leaves, where that is more: a Korean text has thousands of
characters, each of which takes two entries, its own and that of a piece that goes on with it."""
MUCH_LEFT_OUT = 0.001
"""Share of the text's characters without an entry that is worth a line."""


def train_vocabulary(
    inputs: tuple[str, ...],
    output: Path,
    vocab_size: int,
    *,
    reading: ReadOptions = READING,
    encoding: str = "auto",
    kind: str | None = None,
    family: str | None = None,
    min_frequency: int | None = None,
    lowercase: bool | None = None,
    strip_accents: bool | None = None,
    handle_chinese_chars: bool = True,
) -> int:
    """Train a vocabulary and write a folder that `AutoTokenizer` opens.

    Every Chinese character of the text gets an entry of WordPiece and Unigram, whatever its
    frequency: a character without one would be unknown wherever it occurs. Byte-level BPE knows
    all characters by their bytes.

    Args:
        inputs: paths, globs and folders.
        output: the new folder.
        vocab_size: entries, special tokens included.
        reading: what the documents of files are.
        encoding: of text files.
        kind: wordpiece, bpe or unigram; None for the one that `family` is published with.
        family: a key of `FAMILIES`, whose special tokens it gets; None follows `kind`.
        min_frequency: of a piece that joins two others; None for 2. Unigram has no such rule.
        lowercase: all text first; None for WordPiece alone. Byte-level BPE never does.
        strip_accents: of WordPiece; None follows `lowercase`.
        handle_chinese_chars: of WordPiece: put every Chinese character into a pre-token of its own.

    Returns:
        The entries written.

    Raises:
        WholewordError: the input is unusable, the folder is not empty, or the alphabet alone is
            larger than the vocabulary.
    """
    kind, chosen = choose_kind(kind, family)
    _check_request(output, vocab_size, kind, min_frequency, lowercase)
    check_encoding(encoding)
    files = find_inputs(inputs, "train", encoding)
    if not any(text.strip() for text in _texts(files, reading)):
        raise WholewordError(f"{', '.join(inputs)}: the input holds no text; name files with text")
    frequency = MIN_FREQUENCY if min_frequency is None else min_frequency

    def texts() -> Iterator[str]:
        return _texts(files, reading)

    if kind == "wordpiece":
        lower = lowercase is not False
        source = _wordpiece(
            texts, vocab_size, chosen, frequency, lower, strip_accents, handle_chinese_chars
        )
    elif kind == "bpe":
        source = wrap(_bpe(texts, vocab_size, chosen, frequency), chosen)
    else:
        source = wrap(_unigram(texts, vocab_size, chosen, bool(lowercase)), chosen)
    _save(source, output, lists_entries=kind == "wordpiece")
    return len(source)


def choose_kind(kind: str | None, family: str | None) -> tuple[str, Family]:
    """The kind of tokenizer, and what surrounds it."""
    if family is not None and family not in FAMILIES:
        raise WholewordError(f"--preset-for {family}: not known; write {', '.join(FAMILIES)}")
    if kind is not None and kind not in DEFAULT_FAMILY:
        raise WholewordError(f"--type {kind}: not known; write {', '.join(DEFAULT_FAMILY)}")
    if kind is None:
        kind = FAMILIES[family].kind if family else "wordpiece"
    chosen = FAMILIES[family or DEFAULT_FAMILY[kind]]
    if kind == "wordpiece" and chosen.roles != BERT_TOKENS:
        raise WholewordError(
            f"--type wordpiece --preset-for {family}: WordPiece has BERT's special tokens, "
            f"{family} has others; write --type bpe or --type unigram"
        )
    return kind, chosen


def _wordpiece(
    texts: Callable[[], Iterator[str]],
    vocab_size: int,
    family: Family,
    min_frequency: int,
    lowercase: bool,
    strip_accents: bool | None,
    handle_chinese_chars: bool,
) -> "PreTrainedTokenizerBase":
    tokenizer = BertWordPieceTokenizer(
        lowercase=lowercase,
        strip_accents=strip_accents,
        handle_chinese_chars=handle_chinese_chars,
    )
    counts: Counter[str] = Counter()
    for text in texts():
        counts.update(tokenizer.normalizer.normalize_str(text))
    alphabet = _alphabet(counts, vocab_size)
    vocabulary = _train_twice(tokenizer, texts, alphabet, vocab_size, min_frequency)
    from transformers import BertTokenizer  # 3 s: not for `--help`

    # AutoTokenizer rebuilds the normalizer from these options, whatever tokenizer.json says.
    return BertTokenizer(
        vocab=vocabulary,
        do_lower_case=lowercase,
        strip_accents=strip_accents,
        tokenize_chinese_chars=handle_chinese_chars,
        model_max_length=family.max_positions,
        model_input_names=input_names(family),
    )


def _bpe(
    texts: Callable[[], Iterator[str]], vocab_size: int, family: Family, min_frequency: int
) -> Tokenizer:
    least = BYTES + len(family.special_tokens)
    if vocab_size < least:
        raise WholewordError(
            f"--vocab-size {vocab_size}: byte-level BPE has an entry for each of the {BYTES} bytes "
            f"and each special token; ask for {least} or more"
        )
    return train_bpe(texts(), vocab_size, family.special_tokens, min_frequency, family.normalizes)


def _unigram(
    texts: Callable[[], Iterator[str]], vocab_size: int, family: Family, lowercase: bool
) -> Tokenizer:
    backend = unigram_backend(lowercase)
    words = count_words(texts(), backend)
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    alphabet = _alphabet(counts, vocab_size)
    unknown = family.roles[1]
    return train_unigram(backend, words, alphabet, vocab_size, family.special_tokens, unknown)


def _check_request(
    output: Path, vocab_size: int, kind: str, min_frequency: int | None, lowercase: bool | None
) -> None:
    """Refuse numbers out of range, what a kind does not have, and a folder that holds something."""
    if not 0 < vocab_size <= MAX_ENTRIES:
        raise WholewordError(f"--vocab-size {vocab_size}: must be 1 to {MAX_ENTRIES:,}")
    if min_frequency is not None and not 0 <= min_frequency < 1 << 32:
        raise WholewordError(f"--min-frequency {min_frequency}: must be 0 to {(1 << 32) - 1:,}")
    if kind == "unigram" and min_frequency is not None:
        raise WholewordError(
            f"--min-frequency {min_frequency}: Unigram has no such rule; leave it out"
        )
    if kind == "bpe" and lowercase:
        raise WholewordError(
            "--lowercase: byte-level BPE keeps upper case; leave it out, or lower-case the text"
        )
    if os.path.lexists(output) and (not output.is_dir() or any(output.iterdir())):
        raise WholewordError(f"{output}: already exists; name another --output")


def _train_twice(
    tokenizer: BertWordPieceTokenizer,
    texts: Callable[[], Iterator[str]],
    alphabet: list[str],
    vocab_size: int,
    min_frequency: int,
) -> dict[str, int]:
    """The vocabulary, the same in every run.

    The library numbers the pieces `##c` in an order that changes from run to run, and breaks ties
    by number. So a first pass finds them, and the second is given them in order.
    """

    def train(entries: int, first_entries: list[str | AddedToken]) -> dict[str, int]:
        tokenizer.train_from_iterator(
            texts(),
            vocab_size=entries,
            min_frequency=min_frequency,
            limit_alphabet=len(alphabet),
            initial_alphabet=alphabet,
            special_tokens=first_entries,
            show_progress=False,
        )
        return dict(tokenizer.get_vocab())

    continuing = sorted(piece for piece in train(0, []) if piece.startswith("##"))
    return train(vocab_size, [*SPECIAL_TOKENS, *continuing])


def _texts(files: list[InputFile], reading: ReadOptions) -> Iterator[str]:
    for task in plan_tasks(files, reading.separator, default_split_size(files)):
        for batch in read_task(task, reading):
            yield from batch.documents.to_pylist()


def _alphabet(counts: Counter[str], vocab_size: int) -> list[str]:
    """Every Chinese character, and the most frequent of all others; warns of much that is left out.

    Args:
        counts: of all characters of the normalized text.
        vocab_size: entries that there will be.

    Raises:
        WholewordError: there are none, or more than entries.
    """
    del counts[" "]
    if not counts:
        raise WholewordError("the input holds no text that a vocabulary could be made of")
    han = [c for c in counts if is_han(c)]
    others = sorted((c for c in counts if not is_han(c)), key=lambda c: (-counts[c], c))
    room = max(OTHER_CHARACTERS, (vocab_size - len(SPECIAL_TOKENS) - len(han)) // OTHER_SHARE)
    left_out = sum(counts[character] for character in others[room:]) / max(counts.total(), 1)
    alphabet = sorted([*han, *others[:room]])
    if len(alphabet) + len(SPECIAL_TOKENS) >= vocab_size:
        raise WholewordError(
            f"--vocab-size {vocab_size}: the text has {len(alphabet):,} characters that all get an "
            "entry; ask for more"
        )
    if left_out > MUCH_LEFT_OUT:
        warn(
            f"--vocab-size {vocab_size}: has no room for all characters of this text, and "
            f"{left_out:.1%} of it will be unknown; ask for more entries"
        )
    return alphabet


def _save(source: "PreTrainedTokenizerBase", output: Path, lists_entries: bool) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".train-vocab-") as folder:
            whole = Path(folder) / "tokenizer"
            source.save_pretrained(whole)
            if lists_entries:  # what other BERT tools read
                pieces = sorted(source.get_vocab().items(), key=lambda piece: piece[1])
                text = "".join(f"{piece}\n" for piece, _ in pieces)
                (whole / "vocab.txt").write_text(text, encoding="utf-8")
            sync_tree(whole)
            publish(whole, output)  # (an empty folder of that name is replaced)
    except OSError as error:
        raise WholewordError(
            f"{output}: cannot be written ({error.strerror or error}); name another --output"
        ) from error
