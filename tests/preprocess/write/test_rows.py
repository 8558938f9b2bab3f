import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from preprocess.write.rows import cut_rows, gather_rows

Token = tuple[bool, bool]
"""Whether it starts a word, and whether it starts a sentence."""


def expected(document: list[Token], max_tokens: int) -> tuple[list[int], int]:
    """Lengths of the rows of one document, and words cut: the rule in lists."""
    sentences: list[list[Token]] = []
    for token in document:
        if token[1] or not sentences:
            sentences.append([])
        sentences[-1].append(token)
    lengths: list[int] = []
    row: list[Token] = []
    words_cut = 0
    for sentence in sentences:
        if row and len(row) + len(sentence) > max_tokens:
            lengths.append(len(row))
            row = []
        row = row + sentence
        while len(row) > max_tokens:
            starts = [i for i in range(1, max_tokens + 1) if row[i][0]]
            cut = starts[-1] if starts else max_tokens
            words_cut += not starts
            lengths.append(cut)
            row = row[cut:]
    return lengths + [len(row)] * bool(row), words_cut


_documents = st.lists(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([True, False, False])).map(
            lambda t: (t[0] or t[1], t[1])
        ),
        max_size=40,
    ).map(lambda tokens: [(True, True), *tokens[1:]] if tokens else []),
    max_size=5,
)


@given(_documents, st.integers(1, 12))
def test_rows_are_those_of_the_rule(documents: list[list[Token]], max_tokens: int) -> None:
    flat = [token for document in documents for token in document]
    words = np.array([word for word, _ in flat], bool)
    sentences = np.array([sentence for _, sentence in flat], bool)
    lengths = [len(document) for document in documents]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    before = words.copy()
    row_offsets, row_documents, words_cut = cut_rows(words, sentences, offsets, max_tokens)

    wanted = [expected(document, max_tokens) for document in documents]
    assert np.diff(row_offsets).tolist() == [n for rows, _ in wanted for n in rows]
    assert words_cut == sum(cut for _, cut in wanted)
    assert row_documents.tolist() == [i for i, (rows, _) in enumerate(wanted) for _ in rows]
    # Every token is in exactly one row, and no row is empty or too long.
    assert row_offsets[0] == 0
    assert row_offsets[-1] == len(flat)
    assert all(1 <= n <= max_tokens for n in np.diff(row_offsets))
    # Every row starts a word; only the words that were cut gained a start.
    assert words[row_offsets[:-1]].all()
    assert words.sum() - before.sum() == words_cut


def test_sentences_stay_whole_where_they_fit() -> None:
    sentences = np.array([1, 0, 0, 1, 0, 1, 0, 0, 0], bool)
    words = np.ones(9, bool)
    row_offsets, _, cut = cut_rows(words, sentences, np.array([0, 9]), 5)
    assert row_offsets.tolist() == [0, 5, 9]
    assert cut == 0


def test_a_word_longer_than_a_row_is_cut_and_counted() -> None:
    words = np.array([1, 0, 0, 0, 0, 1], bool)
    sentences = np.array([1, 0, 0, 0, 0, 0], bool)
    row_offsets, _, cut = cut_rows(words, sentences, np.array([0, 6]), 2)
    assert row_offsets.tolist() == [0, 2, 4, 6]
    assert cut == 2
    assert words.tolist() == [True, False, True, False, True, True]


@given(st.lists(st.integers(0, 5), max_size=8), st.data())
def test_gathering_takes_rows_in_the_order_asked(lengths: list[int], data: st.DataObject) -> None:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = np.arange(offsets[-1], dtype=np.uint16)
    numbers = st.lists(st.integers(0, len(lengths) - 1)) if lengths else st.just([])
    chosen = np.array(data.draw(numbers), np.int64)
    rows = [values[offsets[i] : offsets[i + 1]] for i in chosen]
    gathered = gather_rows(values, offsets, chosen)
    assert gathered.dtype == np.uint16
    assert gathered.tolist() == [value for row in rows for value in row]
