"""What tokenizers of each family of models have around their vocabulary."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Tokenizer, processors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ROBERTA_TOKENS = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")


@dataclass(frozen=True)
class Family:
    """The special tokens of a family of models, as the published tokenizers have them."""

    kind: str
    """Of the published vocabularies: wordpiece, bpe or unigram."""
    roles: tuple[str, str, str, str, str]
    """The padding, unknown, first, last and mask token."""
    order: tuple[int, ...]
    """The roles in the order of the tokens' ids."""
    max_positions: int
    """Tokens of the longest input."""
    normalizes: bool = False
    """Whether byte-level BPE has text in NFC."""
    has_types: bool = False
    """Whether the second text of a pair has a type of its own."""
    has_two_separators: bool = False
    """Whether two last tokens stand between the texts of a pair."""
    mask_takes_space: bool = False
    """Whether a mask token takes in the space before it."""
    names_ends: bool = True
    """Whether the first and the last token are named bos and eos, too."""

    @property
    def special_tokens(self) -> tuple[AddedToken, ...]:
        """By id."""
        return tuple(self.added_token(self.roles[role]) for role in self.order)

    def added_token(self, token: str) -> AddedToken:
        """A special token; of a name, what a tokenizer gets first stays."""
        takes_space = self.mask_takes_space and token == self.roles[-1]
        return AddedToken(token, lstrip=takes_space, normalized=False, special=True)


_PAD_FIRST, _BOS_FIRST = (0, 1, 2, 3, 4), (2, 0, 3, 1, 4)
FAMILIES = {
    "bert": Family(
        "wordpiece", BERT_TOKENS, _PAD_FIRST, 512, has_types=True, names_ends=False
    ),
    "modernbert": Family(
        "bpe", BERT_TOKENS, _PAD_FIRST, 8192, normalizes=True, mask_takes_space=True,
        names_ends=False,
    ),
    "roberta": Family(
        "bpe", _ROBERTA_TOKENS, _BOS_FIRST, 512, has_two_separators=True, mask_takes_space=True
    ),
    "xlm-roberta": Family(
        "unigram", _ROBERTA_TOKENS, _BOS_FIRST, 512, has_two_separators=True, mask_takes_space=True
    ),
    "deberta-v2": Family("unigram", BERT_TOKENS, (0, 2, 3, 1, 4), 512, has_types=True),
}  # fmt: skip
DEFAULT_FAMILY = {"wordpiece": "bert", "bpe": "modernbert", "unigram": "xlm-roberta"}


def wrap(backend: Tokenizer, family: Family) -> "PreTrainedTokenizerBase":
    """A tokenizer of transformers around a trained one: special tokens and what surrounds a row."""
    from transformers import PreTrainedTokenizerFast  # 3 s: not for `--help`

    _, _, first, last, _ = family.roles
    between = f"{last} {last}" if family.has_two_separators else last
    second = "$B:1 {}:1" if family.has_types else "$B {}"
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {between} {second.format(last)}",
        special_tokens=[(token, backend.token_to_id(token)) for token in (first, last)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=family.max_positions,
        model_input_names=input_names(family),
        **named_tokens(family),
    )


def named_tokens(family: Family) -> dict[str, str | AddedToken]:
    """The special tokens by the names that transformers has for them."""
    pad, unknown, first, last, mask = family.roles
    named: dict[str, str | AddedToken] = {
        "pad_token": pad, "unk_token": unknown, "cls_token": first, "sep_token": last,
        "mask_token": family.added_token(mask),
    }  # fmt: skip
    return named | ({"bos_token": first, "eos_token": last} if family.names_ends else {})


def input_names(family: Family) -> list[str]:
    """What models of a family take."""
    types = ["token_type_ids"] if family.has_types else []
    return ["input_ids", *types, "attention_mask"]
