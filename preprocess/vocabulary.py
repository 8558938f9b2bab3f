"""`train-vocab`: a BERT WordPiece tokenizer from text."""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import AddedToken
from tokenizers.implementations import BertWordPieceTokenizer

from preprocess.errors import WholewordError
from preprocess.files import publish, sync_tree
from preprocess.read.cutting import default_split_size, plan_tasks
from preprocess.read.documents import read_task
from preprocess.read.encodings import check_encoding
from preprocess.read.input_files import find_inputs
from preprocess.read.sources import InputFile, ReadOptions
from preprocess.read.unicode import is_han

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_POSITIONS = 512
MAX_ENTRIES = 1_000_000
READING = ReadOptions()
OTHER_CHARACTERS = 1000
"""How many characters that are not Chinese get an entry, the most frequent first."""


def train_vocabulary(
    inputs: tuple[str, ...],
    output: Path,
    vocab_size: int,
    *,
    reading: ReadOptions = READING,
    encoding: str = "auto",
    min_frequency: int = 2,
    lowercase: bool = True,
    strip_accents: bool | None = None,
    handle_chinese_chars: bool = True,
) -> int:
    """Train a vocabulary and write a folder that `AutoTokenizer` opens.

    Every Chinese character of the text gets an entry, whatever its frequency: a character without
    one would be unknown wherever it occurs.

    Args:
        inputs: paths, globs and folders.
        output: the new folder.
        vocab_size: entries, special tokens included.
        reading: what the documents of files are.
        encoding: of text files.
        min_frequency: of a piece that joins two others.
        lowercase: as BERT's uncased models.
        strip_accents: None follows `lowercase`.
        handle_chinese_chars: put every Chinese character into a pre-token of its own.

    Returns:
        The entries written.

    Raises:
        WholewordError: the input is unusable, the folder is not empty, or the alphabet alone is
            larger than the vocabulary.
    """
    _check_request(output, vocab_size, min_frequency)
    check_encoding(encoding)
    files = find_inputs(inputs, "train", encoding)
    tokenizer = BertWordPieceTokenizer(
        lowercase=lowercase,
        strip_accents=strip_accents,
        handle_chinese_chars=handle_chinese_chars,
    )
    alphabet = _alphabet(_texts(files, reading), tokenizer)
    if not alphabet:
        raise WholewordError(f"{', '.join(inputs)}: the input holds no text; name files with text")
    if len(alphabet) + len(SPECIAL_TOKENS) >= vocab_size:
        raise WholewordError(
            f"--vocab-size {vocab_size}: the text has {len(alphabet):,} characters that all get an "
            "entry; ask for more"
        )

    vocabulary = _train_twice(
        tokenizer, lambda: _texts(files, reading), alphabet, vocab_size, min_frequency
    )
    from transformers import BertTokenizer  # 3 s: not for `--help`

    # AutoTokenizer rebuilds the normalizer from these options, whatever tokenizer.json says.
    source = BertTokenizer(
        vocab=vocabulary,
        do_lower_case=lowercase,
        strip_accents=strip_accents,
        tokenize_chinese_chars=handle_chinese_chars,
        model_max_length=MAX_POSITIONS,
    )
    _save(source, output)
    return len(source)


def _check_request(output: Path, vocab_size: int, min_frequency: int) -> None:
    """Refuse numbers out of range, and a folder that holds something."""
    if not 0 < vocab_size <= MAX_ENTRIES:
        raise WholewordError(f"--vocab-size {vocab_size}: must be 1 to {MAX_ENTRIES:,}")
    if not 0 <= min_frequency < 1 << 32:
        raise WholewordError(f"--min-frequency {min_frequency}: must be 0 to {(1 << 32) - 1:,}")
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


def _alphabet(texts: Iterator[str], tokenizer: BertWordPieceTokenizer) -> list[str]:
    """Every Chinese character, and the most frequent of all others."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(tokenizer.normalizer.normalize_str(text))
    del counts[" "]
    others = sorted((c for c in counts if not is_han(c)), key=lambda c: (-counts[c], c))
    return sorted([*(c for c in counts if is_han(c)), *others[:OTHER_CHARACTERS]])


def _save(source: "PreTrainedTokenizerBase", output: Path) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".train-vocab-") as folder:
            whole = Path(folder) / "tokenizer"
            source.save_pretrained(whole)
            pieces = sorted(source.get_vocab().items(), key=lambda piece: piece[1])
            text = "".join(f"{piece}\n" for piece, _ in pieces)
            (whole / "vocab.txt").write_text(text, encoding="utf-8")  # what other BERT tools read
            sync_tree(whole)
            publish(whole, output)  # (an empty folder of that name is replaced)
    except OSError as error:
        raise WholewordError(
            f"{output}: cannot be written ({error.strerror or error}); name another --output"
        ) from error
