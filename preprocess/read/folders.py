"""Paths, globs and folders to the files that are read, and to those that are left out, with why."""

import glob
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from preprocess.errors import WholewordError
from preprocess.read.formats import KNOWN, form_of

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


@dataclass
class Listing:
    """What inputs name."""

    paths: dict[str, None] = field(default_factory=dict)
    """What is read, in order, once each."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Path in a folder, and why it is not read."""


def list_files(patterns: tuple[str, ...]) -> Listing:
    """Files that paths, globs and folders name: in the order given, sorted within each.

    What is named itself is read, or an error; what a folder or a glob happens to hold is left out
    where it is hidden, a program's own, or of an unknown format.

    Raises:
        WholewordError: something is missing, matches nothing, or has an unknown format.
    """
    listing = Listing()
    for pattern in patterns:
        listing.paths.update(dict.fromkeys(_expand(pattern, listing.left_out)))
    for path in listing.paths:
        listing.left_out.pop(path, None)
    return listing


def _expand(pattern: str, left_out: dict[str, str]) -> list[str]:
    if "://" in pattern:
        raise WholewordError(_no_address(pattern))
    if os.path.isdir(pattern):  # noqa: PTH112
        found = sorted(_walk(pattern, left_out))
        if not found:
            raise WholewordError(
                f"{pattern}: the folder holds no file with text ({KNOWN}); name the folder or the "
                "files with the text"
            )
        return found
    if os.path.exists(pattern):  # noqa: PTH110 (pathlib's raises where a name is too long)
        if form_of(pattern) is None:
            raise WholewordError(f"{pattern}: unknown format; use {KNOWN}, and name it so")
        return [pattern]
    if os.path.islink(pattern):  # noqa: PTH114
        raise WholewordError(f"{pattern}: a link that leads nowhere; mend the link")
    if not glob.has_magic(pattern):
        raise WholewordError(f"{pattern}: no such file or folder; check --input")
    return _match(pattern, left_out)


def _no_address(pattern: str) -> str:
    if pattern.startswith("hf://datasets/"):
        name = "/".join(pattern.removeprefix("hf://datasets/").split("/")[:2]).split("@")[0]
        return (
            f"{pattern}: addresses are not read yet; fetch it with `hf download --repo-type "
            f"dataset {name} --local-dir FOLDER` and name the folder"
        )
    return f"{pattern}: addresses are not read yet; copy the files to a disk and name them there"


def _match(pattern: str, left_out: dict[str, str]) -> list[str]:
    known = []
    for name in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 (absolute patterns too)
        if os.path.isdir(name):  # noqa: PTH112
            continue
        why = _why_not(name, {})
        if why:
            left_out[name] = why
        else:
            known.append(name)
    if not known:
        raise WholewordError(f"{pattern}: matches no file with text ({KNOWN}); check the pattern")
    return known


def _walk(folder: str, left_out: dict[str, str]) -> Iterator[str]:
    """Files of a folder and its folders; links are followed, each folder is entered once."""
    entered = {_identity(folder)}

    def fail(error: OSError) -> None:
        raise WholewordError(
            f"{error.filename}: cannot be read ({error.strerror}); check its permissions"
        ) from error

    for base, folders, names in os.walk(folder, followlinks=True, onerror=fail):
        go_on = []
        others = _other_splits(base, names) | _not_saved(base, names)
        for name in sorted(folders):
            path = os.path.join(base, name)  # noqa: PTH118
            why = _foreign(name) or others.get(name) or _shards(path)
            if not why and _identity(path) in entered:
                why = "a link to a folder that is read already"
            if why:
                left_out[path] = why
            else:
                entered.add(_identity(path))
                go_on.append(name)
        folders[:] = go_on
        beside = dict.fromkeys(names)
        for name in names:
            path = os.path.join(base, name)  # noqa: PTH118
            if why := _foreign(name) or others.get(name) or _why_not(path, beside):
                left_out[path] = why
            else:
                yield path


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _foreign(name: str) -> str | None:
    if name.lower() in MARKERS:
        return "a program's own file"
    return "hidden" if name.startswith(".") else None


def _shards(path: str) -> str | None:
    """Why a dataset of our own is left out: the output may well lie in the input's folder."""
    return "shards of a build" if (Path(path) / ".build").is_dir() else None


def _other_splits(base: str, names: list[str]) -> dict[str, str]:
    """What of a folder belongs to other splits, where there is `train`: they are for tests.

    They are folders of a `DatasetDict`, or files that are named as the hub's are.
    """
    splits = {name: name for name in _splits_of_a_dict(base, names)}
    splits |= {name: match[1] for name in names if (match := _SPLIT_FILE.fullmatch(name))}
    if "train" not in splits.values():
        return {}
    return {name: OTHER_SPLIT for name, split in splits.items() if split != "train"}


def _splits_of_a_dict(base: str, names: list[str]) -> list[str]:
    """The splits of a `DatasetDict`, each a folder."""
    if "dataset_dict.json" not in names:
        return []
    try:
        splits = json.loads((Path(base) / "dataset_dict.json").read_bytes())["splits"]
    except (ValueError, KeyError, TypeError, OSError):
        return []
    return [name for name in splits if isinstance(name, str)]


def _not_saved(base: str, names: list[str]) -> dict[str, str]:
    """Tables that are no pieces of the dataset that `save_to_disk` wrote here last."""
    if "state.json" not in names:
        return {}
    try:
        state = json.loads((Path(base) / "state.json").read_bytes())
        pieces = {piece["filename"] for piece in state["_data_files"]}
    except (ValueError, KeyError, TypeError, OSError):
        return {}
    return {name: OWN_FILE for name in names if name.endswith(".arrow") and name not in pieces}


def _why_not(path: str, beside: dict[str, None]) -> str | None:
    """Why a file is not read, None if it is; `beside` are the names in its folder."""
    name = os.path.basename(path)  # noqa: PTH119
    if name in DATASET_FILES:
        return OWN_FILE
    if name in TOKENIZER_FILES and (
        "tokenizer.json" in beside or "tokenizer_config.json" in beside
    ):
        return "a tokenizer's vocabulary"
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return "a link that leads nowhere"
    if not stat.S_ISREG(status.st_mode):
        return "a pipe or device"
    if form_of(name) is None:
        return "of an unknown format" if os.path.splitext(name)[1] else NO_SUFFIX  # noqa: PTH122
    return None if status.st_size else "empty"
