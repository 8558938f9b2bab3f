"""Byte-level BPE and Unigram, trained to the same bytes in every run, on any number of threads.

Both are trained on the pre-tokens of the normalizer and pre-tokenizer that they are saved with, so
no piece goes across what these would split.
"""

import io
from collections import Counter
from collections.abc import Iterator

import sentencepiece
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

MARK = "\u2581"
"""Stands for the space before a word in Unigram's pieces."""
BYTES = 256


def train_bpe(
    texts: Iterator[str],
    vocab_size: int,
    special_tokens: tuple[AddedToken, ...],
    min_frequency: int,
    normalizes: bool,
) -> Tokenizer:
    """Byte-level BPE with GPT-2's pre-tokenizer, which has a piece for every byte.

    Args:
        texts: all of the text.
        vocab_size: entries, special tokens included.
        special_tokens: the first entries.
        min_frequency: of a piece that joins two others.
        normalizes: brings text into NFC first, as GPT-NeoX's and ModernBERT's do.
    """
    backend = Tokenizer(models.BPE())
    if normalizes:
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(special_tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return backend


def unigram_backend(lowercase: bool) -> Tokenizer:
    """What stands around a Unigram model: NFKC, and words that begin with a mark, as XLM-R has."""
    backend = Tokenizer(models.Unigram())
    steps = [normalizers.NFKC(), *[normalizers.Lowercase()] * lowercase]
    backend.normalizer = normalizers.Sequence(steps)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always"),
        ]
    )
    backend.decoder = decoders.Metaspace(replacement=MARK, prepend_scheme="always")
    return backend


def count_words(texts: Iterator[str], backend: Tokenizer) -> Counter[str]:
    """How often each pre-token occurs, without its mark."""
    counts: Counter[str] = Counter()
    normalize, split = backend.normalizer.normalize_str, backend.pre_tokenizer.pre_tokenize_str
    for text in texts:
        counts.update(piece.removeprefix(MARK) for piece, _ in split(normalize(text)))
    del counts[""]
    return counts


def train_unigram(
    backend: Tokenizer,
    words: Counter[str],
    alphabet: list[str],
    vocab_size: int,
    special_tokens: tuple[AddedToken, ...],
    unknown: str,
) -> Tokenizer:
    """Give `backend` a Unigram model.

    It is trained by SentencePiece on one thread: the tokenizers library adds up probabilities in
    an order that changes from run to run, and so do its scores.

    Args:
        backend: of `unigram_backend`.
        words: of `count_words`.
        alphabet: characters that get an entry; all others will be unknown.
        vocab_size: entries at most, special tokens included.
        special_tokens: the first entries.
        unknown: the one of them that stands for what has no piece.
    """
    known = Counter[str]()
    others = {ord(c): " " for c in set().union(*words) - set(alphabet)}
    for word, count in words.items():
        for part in word.translate(others).split():
            known[part] += count
    lines = (f"{word}\t{count}" for word, count in sorted(known.items()))
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        input_format="tsv",
        model_writer=output,
        model_type="unigram",
        vocab_size=vocab_size - len(special_tokens) + 1,  # its own unknown piece is not taken
        hard_vocab_limit=False,  # a small text has fewer
        character_coverage=1.0,
        normalization_rule_name="identity",  # the backend has done it
        max_sentence_length=1 << 30,
        num_threads=1,
        minloglevel=3,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
    )
    trained = sentencepiece.SentencePieceProcessor(model_proto=output.getvalue())
    pieces = [(trained.id_to_piece(i), trained.get_score(i)) for i in range(1, len(trained))]
    special = [token.content for token in special_tokens]
    entries = [(token, 0.0) for token in special]
    entries += [(piece, score) for piece, score in pieces if piece not in special]
    backend.model = models.Unigram(entries, special.index(unknown), byte_fallback=False)
    backend.add_special_tokens(list(special_tokens))
    return backend
