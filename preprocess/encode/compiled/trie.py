"""A double-array trie over small integers: words in, two flat arrays out.

From a node with base `b`, the symbol `s` leads to the cell `b + s` if `labels[b + s] == s`; no two
nodes share a base, so the label alone decides (one access for a miss). The root has base 0; base 0
elsewhere means that no symbol follows. See Aoe, "An efficient digital search algorithm by using a
double-array structure", IEEE Transactions on Software Engineering 15(9), 1989.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.kernels import kernel

_PATIENCE = 100
"""Misses after which the search for nodes of this size goes on from where it got to."""


class Trie(NamedTuple):
    """The arrays of a trie; a label that is the highest value of its dtype marks an empty cell."""

    labels: np.ndarray
    """uint16 or uint32 `[cells]`; `max(symbol)` cells more than the last one used."""
    bases: np.ndarray
    """int32 `[cells]`."""
    ends: np.ndarray
    """int32 `[words]`, the cell where each word ends, in the order given."""


@unmanaged
@kernel
def find(labels: np.ndarray, bases: np.ndarray, word: np.ndarray, begin: int, end: int) -> int:
    """The cell that `word[begin:end]` leads to, or -1.

    Args:
        labels: of a trie.
        bases: of a trie.
        word: integers `[at least end]`; 0 and unknown symbols match nothing.
        begin: first symbol.
        end: behind the last symbol, above `begin`.
    """
    cell = 0
    base = 0
    for index in range(begin, end):
        symbol = signed(word[index])
        cell = base + symbol
        if labels[cell] != symbol:
            return -1
        base = signed(bases[cell])
        if base == 0 and index + 1 < end:
            return -1
    return cell


def build_trie(words: Sequence[str]) -> Trie:
    """Build a trie.

    Args:
        words: distinct, not empty; their symbols are the code points of their characters, which
            need not be those of the text that they stand for.
    """
    order = sorted(range(len(words)), key=words.__getitem__)
    lengths = np.array([len(words[index]) for index in order], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    joined = "".join([words[index] for index in order]).encode("utf-32-le", "surrogatepass")
    symbols = np.frombuffer(joined, dtype="<u4").astype(np.int64)
    highest = int(symbols.max(initial=1))
    nodes = _enumerate_nodes(symbols, offsets)
    node_symbols, first_child, word_nodes = nodes
    children = np.diff(first_child)
    # Large families first, while there is room; the root before all others, for its base is given.
    by_size = 1 + np.argsort(-children[1:], kind="stable")
    placement = np.concatenate([[0], by_size[children[by_size] > 0]]).astype(np.int64)
    node_cells, node_bases = _place(node_symbols, first_child, placement, highest)
    dtype = np.uint16 if highest < np.iinfo(np.uint16).max else np.uint32
    size = int(node_cells.max()) + highest + 1
    labels = np.full(size, np.iinfo(dtype).max, dtype=dtype)
    bases = np.zeros(size, dtype=np.int32)
    labels[node_cells[1:]] = node_symbols[1:]
    bases[node_cells[1:]] = node_bases[1:]
    ends = np.empty(len(words), dtype=np.int32)
    ends[order] = node_cells[word_nodes]
    return Trie(labels, bases, ends)


@kernel
def _enumerate_nodes(
    symbols: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes in breadth-first order, so that the children of each are neighbours.

    Args:
        symbols: int64, the symbols of all words, which are sorted and distinct.
        offsets: int64 `[words + 1]`, where words begin and end.

    Returns:
        symbol of each node (int64 `[nodes]`), number of its first child (int64 `[nodes + 1]`), and
        the node of each word (int64 `[words]`).
    """
    capacity = len(symbols) + 1
    low = np.empty(capacity, np.int64)
    high = np.empty(capacity, np.int64)
    depth = np.empty(capacity, np.int64)
    symbol = np.zeros(capacity, np.int64)
    first_child = np.empty(capacity + 1, np.int64)
    word_nodes = np.empty(len(offsets) - 1, np.int64)
    low[0], high[0], depth[0] = 0, len(offsets) - 1, 0
    nodes = 1
    node = 0
    while node < nodes:
        first_child[node] = nodes
        word = low[node]
        level = depth[node]
        if word < high[node] and offsets[word + 1] - offsets[word] == level:
            word_nodes[word] = node
            word += 1
        while word < high[node]:
            here = symbols[offsets[word] + level]
            begin = word
            while word < high[node] and symbols[offsets[word] + level] == here:
                word += 1
            low[nodes], high[nodes], depth[nodes], symbol[nodes] = begin, word, level + 1, here
            nodes += 1
        node += 1
    first_child[nodes] = nodes
    return symbol[:nodes], first_child[: nodes + 1], word_nodes


@kernel
def _place(
    symbols: np.ndarray, first_child: np.ndarray, order: np.ndarray, highest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give every node with children a base of its own at which their cells are free.

    Args:
        symbols: int64 `[nodes]`.
        first_child: int64 `[nodes + 1]`.
        order: int64, the nodes to place; the first is the root.
        highest: the highest symbol.

    Returns:
        the cell of each node and its base (0 where it has no child), int64 `[nodes]`.
    """
    nodes = len(symbols)
    capacity = 4 * nodes + 2 * highest + 16
    next_free = np.arange(capacity + 1)  # a forest: the root of p is the first free cell from p on
    base_used = np.zeros(capacity, np.bool_)
    cells = np.zeros(nodes, np.int64)
    bases = np.zeros(nodes, np.int64)
    resume = np.zeros(64, np.int64)
    for node in order:
        begin, end = first_child[node], first_child[node + 1]
        size = min(end - begin, 63)
        cell = _first_free(next_free, max(resume[size], symbols[begin] + (node != 0)))
        misses = 0
        while True:
            base = cell - symbols[begin]
            fits = not base_used[base]
            child = begin
            while fits and child < end:
                place = base + symbols[child]
                fits = _first_free(next_free, place) == place
                child += 1
            if fits:
                break
            misses += 1
            cell = _first_free(next_free, cell + 1)
        if misses > _PATIENCE:
            resume[size] = cell
        base_used[base] = True
        bases[node] = base
        for child in range(begin, end):
            cells[child] = base + symbols[child]
            next_free[base + symbols[child]] = base + symbols[child] + 1
    return cells, bases


@kernel
def _first_free(next_free: np.ndarray, cell: int) -> int:
    """The first free cell from `cell` on; halves the paths that it walks."""
    while next_free[cell] != cell:
        next_free[cell] = next_free[next_free[cell]]
        cell = next_free[cell]
    return cell
