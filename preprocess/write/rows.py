"""Rows: sentences packed greedily, in order, within one document; two kernels.

Every token of a document is in exactly one row. A sentence that is longer than a row is cut where a
word starts, and inside a word only where the word alone is longer than a row.
"""

import numpy as np

from preprocess.kernels import kernel


@kernel
def _append(values: np.ndarray, used: int, value: int) -> np.ndarray:
    """Set `values[used]`, in a copy of twice the size where there is no room."""
    if used == len(values):
        grown = np.empty(2 * used, values.dtype)
        grown[:used] = values
        values = grown
    values[used] = value
    return values


@kernel
def _cut(word_starts: np.ndarray, begin: int, size: int) -> int:
    """The last word start in `(begin, begin + size]`, or -1 where one word fills all of it."""
    for i in range(begin + size, begin, -1):
        if word_starts[i]:
            return i
    return -1


@kernel
def cut_rows(
    word_starts: np.ndarray, sentence_starts: np.ndarray, offsets: np.ndarray, max_tokens: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Decide where rows end.

    Args:
        word_starts: bool `[tokens]`; the first token of every row is set true.
        sentence_starts: bool `[tokens]`.
        offsets: int64 `[documents + 1]`.
        max_tokens: tokens of the longest row, special tokens not counted.

    Returns:
        `row_offsets`, int64 `[rows + 1]`; `row_documents`, int64 `[rows]`, the number of each row's
        document in the batch; and the number of words that had to be cut.
    """
    ends = np.empty(16 + len(offsets), np.int64)
    documents = np.empty(16 + len(offsets), np.int64)
    rows = 0
    words_cut = 0
    for document in range(len(offsets) - 1):
        row = offsets[document]
        sentence = row
        last = offsets[document + 1]
        while sentence < last:
            end = sentence + 1
            while end < last and not sentence_starts[end]:
                end += 1
            if end - row > max_tokens and sentence > row:
                ends = _append(ends, rows, sentence)
                documents = _append(documents, rows, document)
                rows += 1
                row = sentence
            while end - row > max_tokens:
                cut = _cut(word_starts, row, max_tokens)
                if cut < 0:
                    cut = row + max_tokens
                    word_starts[cut] = True
                    words_cut += 1
                ends = _append(ends, rows, cut)
                documents = _append(documents, rows, document)
                rows += 1
                row = cut
            sentence = end
        if row < last:
            ends = _append(ends, rows, last)
            documents = _append(documents, rows, document)
            rows += 1
    row_offsets = np.zeros(rows + 1, np.int64)
    row_offsets[1:] = ends[:rows]
    return row_offsets, documents[:rows].copy(), words_cut


@kernel
def gather_rows(values: np.ndarray, offsets: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The tokens of some rows, end to end.

    Args:
        values: any type, `[tokens]`.
        offsets: int64 `[rows + 1]`.
        chosen: int64 `[n]`, row numbers.

    Returns:
        The chosen rows' tokens, of the type of `values`.
    """
    size = 0
    for row in chosen:
        size += offsets[row + 1] - offsets[row]
    gathered = np.empty(size, values.dtype)
    position = 0
    for row in chosen:
        length = offsets[row + 1] - offsets[row]
        gathered[position : position + length] = values[offsets[row] : offsets[row + 1]]
        position += length
    return gathered
