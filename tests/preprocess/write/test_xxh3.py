"""The kernel against the xxhash library: every length up to several blocks, and real text."""

from pathlib import Path

import numpy as np
import xxhash

from preprocess.write.xxh3 import hash_documents


def _hashes(texts: list[bytes]) -> list[int]:
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    data = np.frombuffer(b"".join(texts) or b"\0", np.uint8)
    return hash_documents(data, offsets).tolist()


def test_every_length_equals_the_library() -> None:
    random = np.random.default_rng(0)
    texts = [random.bytes(size) for size in range(3300)]
    assert _hashes(texts) == [xxhash.xxh3_64_intdigest(text) for text in texts]


def test_long_and_real_documents_equal_the_library() -> None:
    texts = Path("samples/zh/sanguo.txt").read_bytes().split(b"\n")
    texts += [b"\xff" * size for size in (0, 1024, 65536, 1 << 20, (1 << 20) + 1)]
    assert _hashes(texts) == [xxhash.xxh3_64_intdigest(text) for text in texts]
