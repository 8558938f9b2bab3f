#!/usr/bin/env python
"""How fast words and tokens of the Chinese sample are found here, beside jieba and tokenizers.

    python scripts/show_speed.py

One thread, documents in memory, the same text for both; `scripts/benchmark_preprocess.py` measures
whole builds.
"""

import os
import sys
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread, like ours

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pyarrow as pa  # noqa: E402

from preprocess.console import console  # noqa: E402
from preprocess.encode.encoders import make_encoder  # noqa: E402
from preprocess.encode.protocol import EncoderSpec  # noqa: E402
from preprocess.encode.segmenters import jieba_tokenizer, parse_segmenter  # noqa: E402
from preprocess.encode.tokenizer import load_backend, load_tokenizer  # noqa: E402

_PEER_SHARE = 4
"""The peers take every fourth line: enough to tell, and seconds shorter."""


def main() -> None:
    """Measure both and print a line."""
    lines = (ROOT / "samples" / "zh" / "sanguo.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = load_tokenizer(str(ROOT / "samples" / "tokenizer"))
    spec = parse_segmenter("jieba", (), True)
    encoder = make_encoder(EncoderSpec(tokenizer.json, spec, "compiled"))
    documents = pa.array(lines, pa.large_string())
    encoder.encode(documents)  # compiles, or loads what was compiled
    start = time.perf_counter()
    encoder.encode(documents)
    ours = _megabytes(lines) / (time.perf_counter() - start)

    jieba, backend = jieba_tokenizer(()), load_backend(tokenizer.json)
    jieba.lcut(lines[0])  # loads its dictionary
    few = lines[::_PEER_SHARE]
    start = time.perf_counter()
    for line in few:
        jieba.lcut(line)
    backend.encode_batch_fast(few, add_special_tokens=False)
    peer = _megabytes(few) / (time.perf_counter() - start)
    console.print(
        f"words and tokens on one thread: [bold]{ours:.0f} MB/s[/]; jieba, then tokenizers: "
        f"{peer:.1f} MB/s; [bold]{ours / peer:.0f} times[/]"
    )


def _megabytes(lines: list[str]) -> float:
    return sum(len(line.encode()) for line in lines) / 1e6


if __name__ == "__main__":
    main()
