import functools
import itertools
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from preprocess.encode.compiled.encoder import CompiledEncoder, unsupported_reason
from preprocess.encode.protocol import EncodedDocuments
from preprocess.encode.reference import ReferenceEncoder
from preprocess.encode.segmenters import SegmenterSpec
from preprocess.encode.tokenizer import load_tokenizer
from tests.preprocess import support
from tests.preprocess.encode.compiled import oracle
from tests.preprocess.encode.compiled.texts import PIECES, texts
from tests.preprocess.tokenizers_zoo import save_bpe

SEGMENTERS = [
    SegmenterSpec("none"),
    SegmenterSpec("whitespace"),
    SegmenterSpec("jieba"),
    SegmenterSpec("jieba", hmm=False),
]
NAMES = ["none", "whitespace", "jieba", "jieba-no-hmm"]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"lowercase": False},
    {"lowercase": False, "strip_accents": True},
    {"strip_accents": False},
    {"handle_chinese_chars": False},
    {"handle_chinese_chars": False, "lowercase": False},
    {"clean_text": False, "strip_accents": False},
]


@functools.cache
def encoder(tokenizer_json: str, segmenter: SegmenterSpec) -> CompiledEncoder:
    return CompiledEncoder(tokenizer_json, segmenter)


def large(documents: list[str]) -> pa.LargeStringArray:
    return pa.array(documents, pa.large_string())


def check(segmenter: SegmenterSpec, documents: list[str], **settings: Any) -> None:
    tokenizer_json = oracle.bert_json(**settings)
    encoded = encoder(tokenizer_json, segmenter).encode(large(documents))
    assert encoded.ids.dtype == np.uint16
    oracle.check(encoded, tokenizer_json, segmenter, documents)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("segmenter", SEGMENTERS, ids=NAMES)
def test_equal_to_jieba_and_the_tokenizer(segmenter: SegmenterSpec, settings: Any) -> None:
    @given(st.lists(texts, max_size=3))
    def run(documents: list[str]) -> None:
        check(segmenter, documents, **settings)

    run()


@pytest.mark.parametrize("segmenter", SEGMENTERS, ids=NAMES)
def test_every_piece_alone_and_in_pairs(segmenter: SegmenterSpec) -> None:
    check(segmenter, [*PIECES, *(f"中{a}b{b}中 c" for a, b in itertools.pairwise(PIECES))])


@pytest.mark.parametrize("segmenter", SEGMENTERS, ids=NAMES)
def test_every_code_point(segmenter: SegmenterSpec) -> None:
    """Each between letters and between Han characters, but for the large empty planes."""
    points = [c for c in range(0x33000) if not 0xD800 <= c < 0xE000]
    points += [*range(0xE0000, 0xE0200), *range(0xF0000, 0x10FFFF, 0xFFF)]
    documents = [
        "".join(f"a{chr(c)}b{chr(c)}中{chr(c)}人 " for c in points[i : i + 500])
        for i in range(0, len(points), 500)
    ]
    if segmenter.kind == "jieba":
        documents = documents[:60]
    check(segmenter, documents)


@pytest.mark.parametrize("segmenter", SEGMENTERS, ids=NAMES)
def test_documents_of_many_chunks(segmenter: SegmenterSpec) -> None:
    """Some with places to cut, some with almost none."""
    rng = random.Random(5)
    pieces = [piece for piece in PIECES if not any(c in "\u1b44\ua9c0\u302e" for c in piece)]
    mixed = "".join(rng.choices(pieces, k=30_000))
    han = "".join(chr(rng.randrange(0x4E00, 0x9FD6)) for _ in range(25_000))
    latin = "".join(rng.choices("ab1.%-C+", k=80_000))
    check(segmenter, [mixed, han, latin, " " * 70_000 + "中" + " " * 40_000 + "国", "a" * 70_000])


def test_marks_that_unicode_reorders_are_left_to_the_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    documents = ["plain", "\u1b05\u1b44\u0323x", "中\u302e\u0301国", "", "\u1b05\u1b44x", "end"]
    left_over: list[str] = []

    class Spy(ReferenceEncoder):
        def encode(self, documents: pa.LargeStringArray) -> EncodedDocuments:
            left_over.extend(documents.to_pylist())
            return super().encode(documents)

    monkeypatch.setattr("preprocess.encode.compiled.encoder.ReferenceEncoder", Spy)
    for segmenter in SEGMENTERS[:3]:
        left_over.clear()
        encoded = CompiledEncoder(oracle.bert_json(), segmenter).encode(large(documents))
        oracle.check(encoded, oracle.bert_json(), segmenter, documents)
        assert left_over == documents[1:3]


def test_slices_and_empty_arrays() -> None:
    documents = large(["first 中国", "", "second. Third", "第四。第五"])
    tokenizer_json = oracle.bert_json()
    compiled = encoder(tokenizer_json, SEGMENTERS[2])
    for array in (documents.slice(1, 2), documents.slice(3), documents.slice(2, 0), large([])):
        oracle.check(compiled.encode(array), tokenizer_json, SEGMENTERS[2], array.to_pylist())
    assert compiled.encode(large(["", "\u200b", " "])).offsets.tolist() == [0, 0, 0, 0]


def test_literal_special_tokens_are_text() -> None:
    tokenizer_json = oracle.bert_json()
    special = {oracle.backend(tokenizer_json).token_to_id(t) for t in oracle.SPECIAL} - {1}
    encoded = encoder(tokenizer_json, SEGMENTERS[0]).encode(large(["[SEP] [MASK][CLS] a[PAD]"]))
    assert len(encoded.ids) > 10
    assert not special & set(encoded.ids.tolist())


def test_equal_to_the_reference_encoder_on_the_samples() -> None:
    for path in (support.ZH_SAMPLE, support.EN_SAMPLE):
        lines = path.read_text(encoding="utf-8").splitlines()[::97]
        tokenizer_json = (Path(support.TOKENIZER) / "tokenizer.json").read_text(encoding="utf-8")
        for segmenter in SEGMENTERS:
            expected = ReferenceEncoder(tokenizer_json, segmenter).encode(large(lines))
            found = CompiledEncoder(tokenizer_json, segmenter).encode(large(lines))
            for name in ("ids", "word_starts", "sentence_starts", "offsets"):
                assert np.array_equal(getattr(found, name), getattr(expected, name))
                assert getattr(found, name).dtype == getattr(expected, name).dtype


def test_large_vocabularies_get_larger_ids(tmp_path: Path) -> None:
    entries = [*oracle.SPECIAL, *(f"w{i}" for i in range(70_000)), "a", "##b", "##c"]
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(entries) + "\n", encoding="utf-8")
    tokenizer_json = oracle.bert_json(vocabulary=str(path))
    documents = ["abcb w69999 w1 wx a"]
    encoded = encoder(tokenizer_json, SEGMENTERS[0]).encode(large(documents))
    assert encoded.ids.dtype == np.uint32
    oracle.check(encoded, tokenizer_json, SEGMENTERS[0], documents)


def test_vocabulary_without_pieces_that_continue_a_word(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*oracle.SPECIAL, "a", "b", "ab", "中"]) + "\n", encoding="utf-8")
    tokenizer_json = oracle.bert_json(vocabulary=str(path))
    documents = ["a b ab aba ba 中a"]
    encoded = encoder(tokenizer_json, SEGMENTERS[0]).encode(large(documents))
    oracle.check(encoded, tokenizer_json, SEGMENTERS[0], documents)


def _changed(path: str, value: object) -> str:
    tokenizer = json.loads(oracle.bert_json())
    *parents, last = path.split(".")
    part = tokenizer
    for parent in parents:
        part = part[parent]
    part[last] = value
    return json.dumps(tokenizer)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("normalizer", {"type": "NFKC"}, "its normalizer is NFKC, not BertNormalizer"),
        ("normalizer", None, "its normalizer is none, not BertNormalizer"),
        ("pre_tokenizer.type", "Whitespace", "its pre-tokenizer is Whitespace"),
        ("model.type", "BPE", "its model is BPE, not WordPiece"),
        ("model.continuing_subword_prefix", "@@", "its pieces continue with '@@', not '##'"),
        ("model.unk_token", "<none>", "its unknown token <none> is not in its vocabulary"),
        ("model.max_input_chars_per_word", 0, "out of range"),
        ("added_tokens", [{"content": "x", "special": False, "id": 1}], "not special"),
    ],
)
def test_what_it_cannot_take(path: str, value: object, reason: str) -> None:
    found = unsupported_reason(_changed(path, value), SEGMENTERS[0])
    assert found is not None
    assert reason in found


def test_another_kind_of_tokenizer_is_told_by_its_model(tmp_path: Path) -> None:
    bpe = load_tokenizer(str(save_bpe(tmp_path))).json
    assert unsupported_reason(bpe, SEGMENTERS[0]) == "its model is BPE, not WordPiece"


def test_what_it_can_take() -> None:
    for segmenter in SEGMENTERS:
        assert unsupported_reason(oracle.bert_json(), segmenter) is None
    custom = unsupported_reason(oracle.bert_json(), SegmenterSpec("custom", "a.b:c"))
    assert custom is not None
    assert "a.b:c" in custom


def test_a_normalizer_that_is_no_bert_one_is_told_by_its_type() -> None:
    backend = tokenizers.Tokenizer.from_str(oracle.bert_json())
    backend.normalizer = tokenizers.normalizers.Sequence([backend.normalizer])
    reason = unsupported_reason(backend.to_str(), SEGMENTERS[0])
    assert reason == "its normalizer is Sequence, not BertNormalizer"


def test_a_worker_with_warm_caches_imports_no_jieba() -> None:
    encoder(oracle.bert_json(), SEGMENTERS[2])
    code = (
        "import sys\n"
        "from preprocess.encode.compiled.encoder import CompiledEncoder\n"
        "from preprocess.encode.segmenters import SegmenterSpec\n"
        "CompiledEncoder(sys.stdin.read(), SegmenterSpec('jieba'))\n"
        "assert 'jieba' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        input=oracle.bert_json(),
        text=True,
        check=True,
        cwd=support.REPOSITORY,
    )
