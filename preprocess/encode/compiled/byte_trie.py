"""Byte strings in text: the longest that begins at a place."""

from typing import NamedTuple

import numpy as np

from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.tables import Tables
from preprocess.encode.compiled.trie import build_trie
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.kernels import kernel

SHAPE_LIMIT = 1 << 10
"""Above the bytes of any token."""
PASSED_OVER = -2
"""The id of a string that is found and left as it is."""


class ByteTrie(NamedTuple):
    """Byte strings and their ids."""

    leads: np.ndarray
    """bool `[256]`, the bytes with which one begins; empty if there are none."""
    labels: np.ndarray
    """uint16 `[cells]`, see `trie`; symbols are bytes plus 1."""
    bases: np.ndarray
    """int32 `[cells]`."""
    ids: np.ndarray
    """int32 `[cells]`: the id of the string that ends there; -1 where none does."""


def byte_trie_arrays(name: str, entries: dict[bytes, int]) -> Tables:
    """The arrays of a trie, each under the name and that of its field."""
    leads = np.zeros(256 if entries else 0, bool)
    if not entries:
        empty = {"labels": np.uint16, "bases": np.int32, "ids": np.int32}
        return {f"{name}_leads": leads} | {
            f"{name}_{part}": np.zeros(0, dtype) for part, dtype in empty.items()
        }
    leads[[entry[0] for entry in entries]] = True
    trie = build_trie(["".join(chr(byte + 1) for byte in entry) for entry in entries])
    ids = np.full(len(trie.labels), -1, np.int32)
    ids[trie.ends] = list(entries.values())
    # A symbol of any byte must find a cell, whatever the highest symbol of the entries.
    more = 257
    return {
        f"{name}_leads": leads,
        f"{name}_labels": np.append(trie.labels, np.full(more, 0xFFFF, np.uint16)),
        f"{name}_bases": np.append(trie.bases, np.zeros(more, np.int32)),
        f"{name}_ids": np.append(ids, np.full(more, -1, np.int32)),
    }


def byte_trie(arrays: Tables, name: str) -> ByteTrie:
    """The trie, from the arrays of `byte_trie_arrays` or their copy on disk."""
    return ByteTrie(*(arrays[f"{name}_{part}"] for part in ByteTrie._fields))


@unmanaged
@kernel
def longest_match(trie: ByteTrie, data: np.ndarray, position: int, end: int) -> tuple[int, int]:
    """End and id of the longest string at `position`; `position` and -1 if there is none."""
    token, behind = -1, position
    base = 0
    for index in range(position, end):
        symbol = signed(data[index]) + 1
        cell = base + symbol
        if trie.labels[cell] != symbol:
            break
        if trie.ids[cell] != -1:
            token, behind = signed(trie.ids[cell]), index + 1
        base = signed(trie.bases[cell])
        if base == 0:
            break
    return behind, token


@unmanaged
@kernel
def next_match(trie: ByteTrie, data: np.ndarray, position: int, end: int) -> tuple[int, int, int]:
    """Begin, end and id of the next string in a text; `end` twice and -1 if there is none."""
    if len(trie.leads) > 0:
        while position < end:
            if trie.leads[data[position]]:
                behind, token = longest_match(trie, data, position, end)
                if token >= 0:
                    return position, behind, token
                position = max(behind, position + 1)
            else:
                position += 1
    return end, end, -1
