"""What every test starts from: no network, one thread a process, datasets built once."""

import os

# Before anything imports torch, tokenizers or transformers; subprocesses inherit it.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from preprocess.write.manifest import Manifest
from tests import object_store
from tests.preprocess import support

# Kernels compile inside the first example, and the machine may be busy: time says nothing here.
# The same examples in every run: a change is judged by what it does, not by luck. New ones are
# found with `--hypothesis-profile explore`.
settings.register_profile(
    "wholeword",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "explore", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("wholeword")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that no worker ends with one of them alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with some 70 KB of Chinese and English: `zh.txt` and `en.jsonl`."""
    folder = tmp_path_factory.mktemp("corpus")
    support.write_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def built(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """Shards of the corpus, several a part. Copy the folder before changing anything in it."""
    folder = tmp_path_factory.mktemp("built") / "shards"
    return folder, support.build(folder, corpus)


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A real S3 server on this machine; the address of an empty bucket."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    with object_store.s3_server():
        yield f"s3://{object_store.BUCKET}"
