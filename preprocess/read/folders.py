"""Paths, globs and folders to the files that are read, and to those that are left out, with why."""

import glob
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from preprocess.addresses import is_address
from preprocess.errors import WholewordError
from preprocess.places import Stored
from preprocess.read.formats import KNOWN, form_of
from preprocess.read.names import OWN_FILE, by_name, foreign, other_splits, unreadable
from preprocess.read.objects import list_objects


@dataclass
class Listing:
    """What inputs name."""

    paths: dict[str, Stored | None] = field(default_factory=dict)
    """What is read, in order, once each; at an address, with what the listing says of it."""
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
        if is_address(pattern):
            found = list_objects(pattern, listing.left_out)
        else:
            found = dict.fromkeys(_expand(pattern, listing.left_out))
        listing.paths.update(found)
    for path in listing.paths:
        listing.left_out.pop(path, None)
    return listing


def _expand(pattern: str, left_out: dict[str, str]) -> list[str]:
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
        others = other_splits(names, _splits_of_a_dict(base, names)) | _not_saved(base, names)
        for name in sorted(folders):
            path = os.path.join(base, name)  # noqa: PTH118
            why = foreign(name) or others.get(name) or _shards(path)
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
            if why := foreign(name) or others.get(name) or _why_not(path, beside):
                left_out[path] = why
            else:
                yield path


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _shards(path: str) -> str | None:
    """Why a dataset of our own is left out: the output may well lie in the input's folder."""
    return "shards of a build" if (Path(path) / ".build").is_dir() else None


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
    if why := by_name(name, beside):
        return why
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return "a link that leads nowhere"
    if not stat.S_ISREG(status.st_mode):
        return "a pipe or device"
    return unreadable(name, status.st_size)
