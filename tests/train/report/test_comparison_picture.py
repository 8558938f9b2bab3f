"""The picture of a comparison, by what is in the figure."""

from matplotlib import pyplot

from tests.train.report.test_comparison_table import report as table_report
from train.report.comparison_picture import _draw_lines, _draw_rows, draw_comparison


def report(labels):
    found = table_report(("before", "words", "n-grams"), labels)
    found["splits"]["labels"] = list(labels)
    found["task"] = {"path": "data/texts.jsonl"}
    found["options"] = {"models": {"before": ["random:bert-tiny"], "words": ["a", "b"]}}
    found["differences"] += [
        {"model": "before", "baseline": "n-grams", "labels": count, "accuracy": -0.05,
         "low": -0.07, "high": -0.03, "verdict": "worse"}
        for count in labels
    ]  # fmt: skip
    return found


def test_one_number_of_labels_is_drawn_as_rows_with_differences():
    figure = _draw_rows(pyplot, report((200,)), dark=False)
    left, right = figure.axes
    assert figure.get_suptitle() == "texts.jsonl, 200 labels, 2,000 test texts"
    assert [tick.get_text() for tick in left.get_yticklabels()] == [
        "before\n(weights drawn anew)", "words\n(2 models)", "n-grams (floor)",
    ]  # fmt: skip
    assert [text.get_text() for text in left.texts] == ["34.6"] * 3
    # The floor's difference is the other way round in a report.
    assert [text.get_text() for text in right.texts] == [
        "+12.0 [-9.4, +14.8]", "+5.0 [+3.0, +7.0]",
    ]  # fmt: skip
    assert "against before" in right.get_xlabel()
    assert any(list(line.get_xdata()) == [0, 0] for line in right.lines)
    assert not figure.legends and not left.get_legend() and not right.get_legend()
    pyplot.close(figure)


def test_a_narrow_picture_has_one_plot_under_the_other():
    figure = _draw_rows(pyplot, report((200,)), dark=False, narrow=True)
    above, below = (axes.get_position() for axes in figure.axes)
    assert above.y0 > below.y1 and figure.get_figwidth() < 5
    assert all(len(axes.get_yticklabels()) == 3 for axes in figure.axes)
    pyplot.close(figure)


def test_several_numbers_of_labels_are_drawn_as_lines():
    figure = _draw_lines(pyplot, report((100, 1000)), dark=True)
    (axes,) = figure.axes
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["before", "words", "n-grams (floor)"]
    pyplot.close(figure)


def test_pictures_are_png():
    for labels in ((200,), (100, 1000)):
        wide = draw_comparison(report(labels), dark=False)
        narrow = draw_comparison(report(labels), dark=False, narrow=True)
        assert wide.startswith(b"\x89PNG") and narrow.startswith(b"\x89PNG") and wide != narrow
