"""What is left out of a folder by its name, and why."""

import os.path
import re
from collections.abc import Collection

from preprocess.read.formats import form_of

TOKENIZER_FILES = {"vocab.txt", "merges.txt", "vocab.json", "tokenizer.json", "config.json"} | {
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
}
"""Names that look like text; they belong to a tokenizer whose configuration is in their folder."""
DATASET_FILES = {"dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json"}
"""What the datasets library writes beside its data."""
MARKERS = {"_success", "_metadata", "_common_metadata", "_temporary", "_delta_log", "__macosx"} | {
    *("__pycache__", "thumbs.db", "desktop.ini")
}
"""Names, in lower case, that programs leave behind; Spark's and macOS's above all."""
OTHER_SPLIT = "not the train split: name one with --validation-input or --test-input"
OWN_FILE = "the datasets library's own file"
NO_SUFFIX = "without a suffix: text is called .txt"
_SPLIT_FILE = re.compile(r"(\w+(?:\.\w+)*)-\d{5}-of-\d{5}(?:-\w+)?\.\w+")
"""A piece of a split, as the hub and the datasets library name it; the group is the split."""


def foreign(name: str) -> str | None:
    """Why a file or folder is not the user's own."""
    if name.lower() in MARKERS:
        return "a program's own file"
    return "hidden" if name.startswith(".") else None


def by_name(name: str, beside: Collection[str]) -> str | None:
    """Why a file of that name is not read, by what it is called and what is beside it."""
    if name in DATASET_FILES:
        return OWN_FILE
    if name in TOKENIZER_FILES and (
        "tokenizer.json" in beside or "tokenizer_config.json" in beside
    ):
        return "a tokenizer's vocabulary"
    return None


def unreadable(name: str, size: int) -> str | None:
    """Why a file of that name and size is not read."""
    if form_of(name) is None:
        return "of an unknown format" if os.path.splitext(name)[1] else NO_SUFFIX  # noqa: PTH122
    return None if size else "empty"


def other_splits(names: Collection[str], folders: Collection[str] = ()) -> dict[str, str]:
    """What of a folder belongs to other splits, where there is `train`: they are for tests.

    Args:
        names: of its files; those that are named as the hub's are pieces of splits.
        folders: of its folders, those that are splits of a `DatasetDict`.
    """
    splits = {name: name for name in folders}
    splits |= {name: match[1] for name in names if (match := _SPLIT_FILE.fullmatch(name))}
    if "train" not in splits.values():
        return {}
    return {name: OTHER_SPLIT for name, split in splits.items() if split != "train"}
