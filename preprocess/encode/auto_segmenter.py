"""`--segmenter auto`: a sample of the text and the vocabulary decide together."""

from collections.abc import Iterable

from preprocess.encode.tokenizer import load_backend
from preprocess.read.unicode import is_han

HAN_SHARE = 0.05
"""Share of Han characters from which on a text is worth jieba's time."""
_COMMONEST = "的一是不了在人有我他"
"""Of modern Chinese; also of the classics, in good part."""


def choose_segmenter(
    texts: Iterable[str], tokenizer_json: str, unk_id: int | None, has_options: bool = False
) -> tuple[str, str]:
    """`jieba` for text in Chinese that the vocabulary can spell, else `none`; and why.

    Args:
        texts: a sample.
        tokenizer_json: the tokenizer, of any kind: byte-level ones spell Han in bytes.
        unk_id: its unknown token, if it has one.
        has_options: whether options are given that only jieba has.
    """
    if has_options:
        return "jieba", "its options are given"
    characters = han = kana = 0
    for text in texts:
        visible = [character for character in text if not character.isspace()]
        characters += len(visible)
        han += sum(map(is_han, visible))
        kana += sum("\u3041" <= character <= "\u30ff" for character in visible)
    share = han / max(characters, 1)
    seen = f"{share:.0%} of a sample of the text is Han"
    if share < HAN_SHARE:
        return "none", seen
    if kana > han / 5:
        return "none", f"{seen}, and Japanese kana stand between"
    if not _spells_han(tokenizer_json, unk_id):
        return "none", f"{seen}, but the vocabulary lacks Han characters"
    return "jieba", seen


def _spells_han(tokenizer_json: str, unk_id: int | None) -> bool:
    backend = load_backend(tokenizer_json)
    encodings = backend.encode_batch(list(_COMMONEST), add_special_tokens=False)
    return any(encoding.ids and unk_id not in encoding.ids for encoding in encodings)
