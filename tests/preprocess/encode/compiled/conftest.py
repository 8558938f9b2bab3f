from collections.abc import Iterator

import pytest

from tests.preprocess.encode.compiled import oracle


@pytest.fixture(scope="module")
def one_jieba() -> Iterator[None]:
    """One dictionary in memory for all reference encoders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("preprocess.encode.segmenters.jieba_tokenizer", oracle.private_jieba)
        yield
