"""Inputs at addresses: objects, globs and what begins like a folder, to those that are read."""

import re
from fnmatch import fnmatchcase
from typing import Any

from preprocess.addresses import MissingError, ask, check_address, protocol_of
from preprocess.errors import WholewordError
from preprocess.places import Stored, stored_of
from preprocess.read.formats import KNOWN, form_of
from preprocess.read.names import by_name, foreign, other_splits, unreadable


def list_objects(pattern: str, left_out: dict[str, str]) -> dict[str, Stored | None]:
    """Objects that an address names, sorted, with what the listing says of them.

    Args:
        pattern: of an object, of many with `*`, or what their names begin with, as a folder's.
        left_out: takes what is not read, and why.

    Raises:
        WholewordError: nothing is there, nothing of it can be read, or nobody answers.
    """
    check_address(pattern, "--input")
    try:
        found = _find(pattern)
    except MissingError as error:
        if error.strerror == "no such bucket" or not _bucket_exists(pattern):
            raise WholewordError(f"{pattern}: there is no such bucket; check --input") from error
        raise WholewordError(f"{pattern}: there is nothing of that name; check --input") from error
    base = _base(pattern)
    if list(found) == [pattern]:  # it was named itself
        if form_of(pattern) is None:
            raise WholewordError(f"{pattern}: unknown format; use {KNOWN}, and name it so")
        return {pattern: stored_of(found[pattern])}
    names: dict[str, list[str]] = {}
    for address in found:
        folder, _, name = address.rpartition("/")
        names.setdefault(folder, []).append(name)
    others = {folder: other_splits(inside) for folder, inside in names.items()}
    read: dict[str, Stored | None] = {}
    for address, info in sorted(found.items()):
        folder, _, name = address.rpartition("/")
        why = _foreign_part(address, base) or others[folder].get(name)
        why = why or by_name(name, names[folder])
        if why := why or unreadable(name, int(info["size"] or 0)):
            left_out[address] = why
        else:
            read[address] = stored_of(info)
    if not read:
        raise WholewordError(f"{pattern}: holds no file with text ({KNOWN}); check the address")
    return read


def _find(pattern: str) -> dict[str, dict[str, Any]]:
    """Objects by their addresses."""
    protocol = protocol_of(pattern)
    magic = re.search(r"[*\[]", pattern)

    def find(fs: Any, path: str) -> dict[str, dict[str, Any]]:
        fs.invalidate_cache()
        if magic:
            found = fs.find(path.split("*")[0].split("[")[0].rpartition("/")[0], detail=True)
            return {name: info for name, info in found.items() if _matches(name, path)}
        info = fs.info(path)
        return {path: info} if info["type"] == "file" else dict(fs.find(path, detail=True))

    found = {
        f"{protocol}://{name.lstrip('/')}": info
        for name, info in ask(pattern, find).items()
        if info["type"] == "file" and not name.endswith("/")
    }
    if not found:
        raise MissingError(2, "no such file", pattern)
    return found


def _matches(name: str, path: str) -> bool:
    """Whether a name has a pattern, in which `**` alone passes over slashes."""
    parts, wanted = name.split("/"), path.split("/")
    if "**" not in wanted:
        return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))
    at = wanted.index("**")
    if not all(map(fnmatchcase, parts[:at], wanted[:at])) or len(parts) < at:
        return False
    rest = "/".join(wanted[at + 1 :])
    return any(_matches("/".join(parts[i:]), rest) for i in range(at, len(parts)))


def _base(pattern: str) -> str:
    return pattern.split("*")[0].rstrip("/")


def _foreign_part(address: str, base: str) -> str | None:
    """Why something is not the user's own, by its name and those of its folders."""
    for name in address.removeprefix(base).strip("/").split("/"):
        if why := foreign(name):
            return why
    return None


def _bucket_exists(address: str) -> bool:
    protocol, rest = address.split("://", 1)
    if protocol not in ("s3", "s3a", "gs", "gcs"):
        return True
    try:
        ask(f"{protocol}://{rest.split('/')[0]}", lambda fs, path: fs.ls(path, detail=False))
    except MissingError:
        return False
    return True
