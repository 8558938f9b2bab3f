r"""Jieba's default mode: `jieba.lcut(text, HMM=...)`, exactly.

The rules are those of `jieba/__init__.py` (`Tokenizer.cut`, `get_DAG`, `calc`, `__cut_DAG`,
`__cut_DAG_NO_HMM`) and `jieba/finalseg/__init__.py` (`cut`, `__cut`, `viterbi`) of jieba 0.42.1.
Characters are symbols of the dictionary's trie: 0 is a character outside jieba's blocks
(`[\u4E00-\u9FD5a-zA-Z0-9+#&._%-]+`), 1 to ASCII_SYMBOLS the ASCII ones in order, the next one any
Han character that neither dictionary nor HMM knows, the others the rest.

Scores are float64, added in jieba's order, so that they (and ties between them) are the same.
"""

from typing import NamedTuple

import numpy as np

from preprocess.encode.compiled.integers import signed
from preprocess.encode.compiled.trie import find
from preprocess.encode.compiled.unmanaged import unmanaged
from preprocess.encode.compiled.utf8 import decode
from preprocess.kernels import kernel

ASCII = "".join(c for c in map(chr, range(128)) if c.isalnum() or c in "+#&._%-")
ASCII_SYMBOLS = len(ASCII)
UNKNOWN_HAN = ASCII_SYMBOLS + 1
NO_WORD = np.inf
"""Weight of a cell where no word ends; those of words are at most 0."""

_LETTER_OR_DIGIT = np.array([False, *(c.isalnum() for c in ASCII)])
_DIGIT = np.array([False, *(c.isdigit() for c in ASCII)])
_POINT = 1 + ASCII.index(".")
_PERCENT = 1 + ASCII.index("%")
_B, _E, _M, _S, START = range(5)
"""The states of the HMM in alphabetical order (and the one before the first): of equal scores,
jieba takes the later."""
_PREDECESSORS = np.array([[_E, _S], [_B, _M], [_B, _M], [_E, _S]])
"""`finalseg.PrevStatus`, each in alphabetical order."""


class JiebaTables(NamedTuple):
    """Dictionary and HMM."""

    symbols: np.ndarray
    """uint16 `[0x10000]`, by code point; others are outside jieba's blocks."""
    labels: np.ndarray
    """uint16 `[cells]`, see `trie`."""
    bases: np.ndarray
    """int32 `[cells]`."""
    weights: np.ndarray
    """float64 `[cells]`, `log(frequency) - log(total)` of the word that ends there, or NO_WORD."""
    forced: np.ndarray
    """bool `[cells]`, the word that ends there is of `finalseg.Force_Split_Words`; empty if there
    are none."""
    emissions: np.ndarray
    """float64 `[symbols, 4]`, states in the order B, E, M, S."""
    transitions: np.ndarray
    """float64 `[5, 4]`, from, to; those from START are the probabilities of the first state."""
    unknown_weight: float
    """`log(1) - log(total)`, of a character that starts no word."""
    longest_word: int
    """Characters of the longest word of the dictionary, at most 255."""
    hmm: bool


def score_window(longest_word: int) -> int:
    """The lowest power of two above the length of the longest word."""
    return 1 << longest_word.bit_length()


@unmanaged
@kernel
def chunk_end(table: np.ndarray, data: np.ndarray, position: int, end: int) -> int:
    """The first place from `position` on where text may be cut without changing words.

    Args:
        table: `symbols` of `JiebaTables`.
        data: uint8, valid UTF-8.
        position: any byte.
        end: of the document.
    """
    while position < end and data[position] & 0xC0 == 0x80:
        position += 1
    while position < end:
        code_point, position = decode(data, position)
        outside = code_point > 0xFFFF or table[code_point] == 0
        if outside and code_point != 0x0D:  # CR LF is one word
            break
    return position


@unmanaged
@kernel
def mark_words(
    tables: JiebaTables,
    data: np.ndarray,
    begin: int,
    end: int,
    scores: np.ndarray,
    symbols: np.ndarray,
    marks: np.ndarray,
) -> int:
    """Mark the characters at which a word begins.

    Args:
        tables: dictionary and HMM.
        data: uint8, valid UTF-8.
        begin: first byte of the text.
        end: behind its last byte.
        scores: scratch, float64, of `score_window` elements.
        symbols: scratch, uint16 `[characters + 1]`.
        marks: uint8 `[characters]`, set to 1 where a word begins, else 0.

    Returns:
        the number of characters.
    """
    length = _read_symbols(tables.symbols, data, begin, end, symbols, marks)
    symbols[length] = 0
    first = 0
    while first < length:
        if symbols[first] == 0:
            first += 1
            continue
        last = first + 1
        while symbols[last] != 0:
            last += 1
        _find_route(tables, symbols, first, last, scores, marks)
        if tables.hmm:
            _follow_with_hmm(tables, symbols, first, last, marks)
        else:
            _follow(symbols, first, last, marks)
        first = last
    return length


@unmanaged
@kernel
def _read_symbols(
    table: np.ndarray,
    data: np.ndarray,
    begin: int,
    end: int,
    symbols: np.ndarray,
    marks: np.ndarray,
) -> int:
    """Decode; mark characters outside of blocks, each a word, except that CR LF is one."""
    position = begin
    length = 0
    before = 0
    while position < end:
        code_point, position = decode(data, position)
        symbol = table[code_point] if code_point <= 0xFFFF else np.uint16(0)
        symbols[length] = symbol
        marks[length] = symbol == 0 and not (code_point == 0x0A and before == 0x0D)
        before = code_point
        length += 1
    return length


@unmanaged
@kernel
def _find_route(
    tables: JiebaTables,
    symbols: np.ndarray,
    first: int,
    last: int,
    scores: np.ndarray,
    lengths: np.ndarray,
) -> None:
    """`get_DAG` and `calc`: from right to left, the best word that begins at each character.

    Args:
        tables: dictionary.
        symbols: text; 0 at `last`.
        first: first character of the block.
        last: behind its last one.
        scores: scratch, float64, as many as `score_window` says; a ring, because jieba's
            score of a character depends on those within a word's reach only.
        lengths: uint8, set to the length of the best word.
    """
    ring = len(scores) - 1
    scores[last & ring] = 0.0
    for here in range(last - 1, first - 1, -1):
        best = -np.inf
        length = 1
        behind = here
        base = 0
        while True:
            symbol = signed(symbols[behind])
            cell = base + symbol
            if tables.labels[cell] != symbol:
                break
            behind += 1
            weight = tables.weights[cell]
            if weight <= 0.0:
                score = weight + scores[behind & ring]
                if score >= best:
                    best = score
                    length = behind - here
            base = signed(tables.bases[cell])
            if base == 0:
                break
        if best == -np.inf:
            best = tables.unknown_weight + scores[(here + 1) & ring]
        scores[here & ring] = best
        lengths[here] = length


@unmanaged
@kernel
def _follow(symbols: np.ndarray, first: int, last: int, marks: np.ndarray) -> None:
    """`__cut_DAG_NO_HMM`: single letters and digits that follow each other are one word.

    Args:
        symbols: text.
        first: first character of the block.
        last: behind its last one.
        marks: lengths of the best words, replaced by marks.
    """
    here = first
    joins = False
    while here < last:
        length = signed(marks[here])
        if length == 1:
            symbol = symbols[here]
            joinable = symbol <= ASCII_SYMBOLS and _LETTER_OR_DIGIT[symbol]
            marks[here] = not (joinable and joins)
            joins = joinable
        else:
            joins = False
            marks[here] = 1
            marks[here + 1 : here + length] = 0
        here += length


@unmanaged
@kernel
def _follow_with_hmm(
    tables: JiebaTables,
    symbols: np.ndarray,
    first: int,
    last: int,
    marks: np.ndarray,
) -> None:
    """`__cut_DAG`: runs of single characters that are no word themselves go to the HMM.

    Args:
        tables: dictionary and HMM.
        symbols: text.
        first: first character of the block.
        last: behind its last one.
        marks: lengths of the best words, replaced by marks.
    """
    here = first
    while here < last:
        run = here
        while here < last and marks[here] == 1:
            here += 1
        if here - run > 1:
            cell = find(tables.labels, tables.bases, symbols, run, here)
            if cell < 0 or tables.weights[cell] > 0.0:
                _cut_run(tables, symbols, run, here, marks)
        if here < last:
            length = signed(marks[here])
            marks[here] = 1
            for inner in range(here + 1, here + length):
                marks[inner] = 0
            here += length


@unmanaged
@kernel
def _cut_run(
    tables: JiebaTables,
    symbols: np.ndarray,
    begin: int,
    end: int,
    marks: np.ndarray,
) -> None:
    r"""`finalseg.cut`: Han characters by the HMM, the rest by `[a-zA-Z0-9]+(?:\.\d+)?%?`."""
    here = begin
    while here < end:
        piece = here
        if symbols[here] > ASCII_SYMBOLS:
            while here < end and symbols[here] > ASCII_SYMBOLS:
                here += 1
            if here - piece > 1:
                _viterbi(tables, symbols, piece, here, marks)
                if len(tables.forced) > 0:
                    _split_forced(tables, symbols, piece, here, marks)
            continue
        while here < end and symbols[here] <= ASCII_SYMBOLS:
            word = here
            here = _skip_number(symbols, here, end)
            if here == word:  # all up to the next match is one word
                while (
                    here < end
                    and symbols[here] <= ASCII_SYMBOLS
                    and not _LETTER_OR_DIGIT[symbols[here]]
                ):
                    here += 1
            marks[word] = 1
            marks[word + 1 : here] = 0


@unmanaged
@kernel
def _skip_number(symbols: np.ndarray, begin: int, end: int) -> int:
    r"""The end of a match of `[a-zA-Z0-9]+(?:\.\d+)?%?` at `begin`; `begin` if there is none."""
    here = begin
    while here < end and symbols[here] <= ASCII_SYMBOLS and _LETTER_OR_DIGIT[symbols[here]]:
        here += 1
    if here == begin:
        return here
    if here + 1 < end and symbols[here] == _POINT:
        fraction = here + 1
        while fraction < end and symbols[fraction] <= ASCII_SYMBOLS and _DIGIT[symbols[fraction]]:
            fraction += 1
        if fraction > here + 1:
            here = fraction
    if here < end and symbols[here] == _PERCENT:
        here += 1
    return here


@unmanaged
@kernel
def _viterbi(
    tables: JiebaTables,
    symbols: np.ndarray,
    begin: int,
    end: int,
    marks: np.ndarray,
) -> None:
    """`finalseg.viterbi`: a word begins at the first character and behind each E and S.

    A score is `(score before + transition) + emission`, in this order. The marks hold, until the
    way back, which of its two possible predecessors each state took: a bit a state.
    """
    transitions = tables.transitions
    emission = tables.emissions[symbols[begin]]
    score_b = transitions[START, _B] + emission[_B]
    score_e = transitions[START, _E] + emission[_E]
    score_m = transitions[START, _M] + emission[_M]
    score_s = transitions[START, _S] + emission[_S]
    for here in range(begin + 1, end):
        emission = tables.emissions[symbols[here]]
        b_from_e = score_e + transitions[_E, _B] + emission[_B]
        b_from_s = score_s + transitions[_S, _B] + emission[_B]
        e_from_b = score_b + transitions[_B, _E] + emission[_E]
        e_from_m = score_m + transitions[_M, _E] + emission[_E]
        m_from_b = score_b + transitions[_B, _M] + emission[_M]
        m_from_m = score_m + transitions[_M, _M] + emission[_M]
        s_from_e = score_e + transitions[_E, _S] + emission[_S]
        s_from_s = score_s + transitions[_S, _S] + emission[_S]
        later = 0
        score_b, score_e, score_m, score_s = b_from_e, e_from_b, m_from_b, s_from_e
        if b_from_s >= b_from_e:
            score_b = b_from_s
            later |= 1 << _B
        if e_from_m >= e_from_b:
            score_e = e_from_m
            later |= 1 << _E
        if m_from_m >= m_from_b:
            score_m = m_from_m
            later |= 1 << _M
        if s_from_s >= s_from_e:
            score_s = s_from_s
            later |= 1 << _S
        marks[here] = later
    state = _S if score_s >= score_e else _E
    for here in range(end - 1, begin, -1):
        later = (signed(marks[here]) >> state) & 1
        state = _PREDECESSORS[state, later]
        marks[here] = state in (_E, _S)
    marks[begin] = 1


@unmanaged
@kernel
def _split_forced(
    tables: JiebaTables,
    symbols: np.ndarray,
    begin: int,
    end: int,
    marks: np.ndarray,
) -> None:
    """Split the HMM's words that are in `Force_Split_Words` into characters."""
    here = begin
    while here < end:
        word = here
        here += 1
        while here < end and marks[here] == 0:
            here += 1
        cell = find(tables.labels, tables.bases, symbols, word, here)
        if cell >= 0 and tables.forced[cell]:
            marks[word:here] = 1
