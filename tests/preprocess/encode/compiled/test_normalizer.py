import numpy as np
import pytest
from hypothesis import given

from preprocess.encode.compiled.normalizer import NormalizedCharacters, normalize_characters
from tests.preprocess.encode.compiled import oracle
from tests.preprocess.encode.compiled.texts import texts

SETTINGS = [{}, {"lowercase": False, "strip_accents": True}, {"strip_accents": False}]


@pytest.fixture(scope="module", params=SETTINGS, ids=str)
def settings(request: pytest.FixtureRequest) -> tuple[str, NormalizedCharacters]:
    json = oracle.bert_json(**request.param)
    return json, normalize_characters(oracle.backend(json))


def _text(characters: NormalizedCharacters, code_point: int) -> str:
    begin, end = characters.texts.offsets[code_point : code_point + 2]
    return "".join(map(chr, characters.texts.characters[begin:end]))


@pytest.mark.parametrize("block", [0, 0x2000, 0xA000, 0xF000, 0x1D000, 0x2F000])
def test_single_code_points_are_normalized(
    settings: tuple[str, NormalizedCharacters], block: int
) -> None:
    json, characters = settings
    normalize = oracle.backend(json).normalizer.normalize_str
    for code_point in range(block, block + 0x1000):
        assert _text(characters, code_point) == normalize(chr(code_point)), hex(code_point)


def test_texts_are_normalized_character_by_character_unless_marks_move(
    settings: tuple[str, NormalizedCharacters],
) -> None:
    json, characters = settings
    normalize = oracle.backend(json).normalizer.normalize_str

    @given(texts)
    def check(text: str) -> None:
        points = [ord(character) for character in text]
        unstable = characters.is_unstable[points]
        near_mark = characters.is_mark[points][1:] & unstable[:-1]
        near_mark |= characters.is_mark[points][:-1] & unstable[1:]
        if not near_mark.any():
            assert "".join(_text(characters, point) for point in points) == normalize(text)

    check()


def test_marks_that_move_are_known(settings: tuple[str, NormalizedCharacters]) -> None:
    json, characters = settings
    strips = oracle.backend(json).normalizer.normalize_str("é") in ("e",)
    assert bool(characters.is_mark[0x1B44]) == strips  # Balinese virama: Mc, class 9
    assert not characters.is_mark[0x0301]  # removed
    assert not characters.is_mark[[ord(c) for c in "a中|각é。"]].any()


def test_classes_of_the_pre_tokenizer(settings: tuple[str, NormalizedCharacters]) -> None:
    _, characters = settings
    assert np.flatnonzero(characters.is_space[:128]).tolist() == [9, 10, 11, 12, 13, 32]
    for text, expected in (("，!|~$^`_-", True), ("a1中é♥", False)):
        assert (characters.is_alone[[ord(c) for c in text]] == expected).all()
    assert characters.is_space[0x3000]
    assert not characters.is_alone[0x3000]
