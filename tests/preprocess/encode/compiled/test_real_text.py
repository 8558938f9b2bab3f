"""Every corpus with every vocabulary and segmenter; a sample of the documents.

`WHOLEWORD_ALL_DOCUMENTS=1 pytest -m corpus tests/preprocess/encode/compiled` takes every document
(an hour); `-s` prints how many tokens were compared.
"""

import os
from pathlib import Path

import pyarrow as pa
import pytest
from jieba import finalseg

from preprocess.encode.compiled.encoder import CompiledEncoder
from preprocess.encode.segmenters import SegmenterSpec
from tests import corpora
from tests.preprocess import support
from tests.preprocess.encode.compiled import oracle
from tests.preprocess.encode.compiled.equal import check
from tests.preprocess.encode.compiled.vocabularies import tokenizer_json as other_tokenizer

pytestmark = pytest.mark.corpus

SAMPLE_CHARACTERS = 20_000
REFERENCE_CHARACTERS = 20_000
USER_WORDS = "讲话 0\n新年讲话 5\n国家主席 9 n\n的人 0\n这本书 3\n不是 0\n曹操 100\n"


def _documents(corpus: str) -> list[str]:
    if corpus == "samples/zh":
        documents = support.ZH_SAMPLE.read_text(encoding="utf-8").splitlines()
    elif corpus == "samples/en":
        documents = support.EN_SAMPLE.read_text(encoding="utf-8").splitlines()
    elif corpus == "reviews":
        documents = corpora.reviews()
    else:
        documents = corpora.peoples_daily(words=corpus == "people's daily, words")
    if os.environ.get("WHOLEWORD_ALL_DOCUMENTS"):
        return documents
    return documents[:: max(1, sum(map(len, documents)) // SAMPLE_CHARACTERS)]


def _vocabulary(name: str) -> str:
    if name == "sample":
        return (Path(support.TOKENIZER) / "tokenizer.json").read_text(encoding="utf-8")
    path = corpora.path(f"{name}_vocab")
    return oracle.bert_json(vocabulary=str(path))


CORPORA = ["samples/zh", "samples/en", "people's daily", "people's daily, words", "reviews"]
OTHERS = [
    *["gpt2, gpt2", "gpt2, roberta", "gpt2, prefix, trimmed", "gpt2, neox", "gpt2, digits"],
    *["qwen, llama3", "qwen, qwen2", "unigram, nfkc", "unigram, albert", "unigram, deberta"],
    *["unigram, whole", "unigram, byte fallback", "unigram, albert, converted"],
    *["characters, gemma", "characters, nfkc"],
]


@pytest.mark.parametrize("segmenter", ["jieba", "whitespace", "none"])
@pytest.mark.parametrize("tokenizer", OTHERS)
@pytest.mark.parametrize("corpus", CORPORA)
def test_other_tokenizers_equal(
    corpus: str, tokenizer: str, segmenter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids and alignment against the library on all, words against the reference on a part."""
    monkeypatch.setattr("preprocess.encode.segmenters.jieba_tokenizer", oracle.private_jieba)
    documents = _documents(corpus)
    tokenizer_json, spec = other_tokenizer(tokenizer), SegmenterSpec(segmenter)
    tokens = len(check(tokenizer_json, spec, documents, peer="library").ids)
    part = documents[:: max(1, sum(map(len, documents)) // REFERENCE_CHARACTERS)]
    referred = len(check(tokenizer_json, spec, part).ids)
    assert referred > 1000
    print(f"{corpus}, {tokenizer}, {segmenter}: {tokens} tokens equal, {referred} to the reference")


@pytest.mark.parametrize("segmenter", ["jieba", "jieba-no-hmm", "jieba-user", "whitespace", "none"])
@pytest.mark.parametrize("vocabulary", ["sample", "chinese", "english"])
@pytest.mark.parametrize("corpus", CORPORA)
def test_equal(
    corpus: str,
    vocabulary: str,
    segmenter: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finalseg, "Force_Split_Words", set())
    user_dicts: tuple[str, ...] = ()
    if segmenter == "jieba-user":
        user_dicts = (str(tmp_path / "words.txt"),)
        Path(user_dicts[0]).write_text(USER_WORDS, encoding="utf-8")
    spec = SegmenterSpec(
        segmenter.split("-")[0], user_dicts=user_dicts, hmm=segmenter != "jieba-no-hmm"
    )
    documents = _documents(corpus)
    tokenizer_json = _vocabulary(vocabulary)
    encoded = CompiledEncoder(tokenizer_json, spec).encode(pa.array(documents, pa.large_string()))
    tokens = oracle.check(encoded, tokenizer_json, spec, documents)
    assert tokens > 1000
    print(f"{corpus}, {vocabulary}, {segmenter}: {len(documents)} documents, {tokens} tokens equal")
