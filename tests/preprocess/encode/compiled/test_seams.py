import itertools

import numpy as np

from preprocess.encode.compiled.seams import filter_shift, part_end, seam_arrays

MERGES = [
    ("中", "国"),
    ("x", "中国"),
    ("é", "ü"),
    ("a", "b"),
    (" ", "中".encode()[:1]),  # a character and the first byte of others
    ("国", "人".encode()[:2]),
    ("民".encode()[2:], "大"),  # the last byte of a character
    ("天".encode()[1:], "地".encode()[:1]),
    ("人".encode()[:2], "人".encode()[2:]),  # within a character
    ("\U00020000", "中"),
    ("龘".encode()[:1], "中"),  # ends within a character: in no text
]
PIECES = [tuple(part.encode() if isinstance(part, str) else part for part in m) for m in MERGES]


def _joins(left: str, right: str) -> bool:
    return any(
        left.encode().endswith(a[-len(left.encode()) :])
        and right.encode().startswith(b[: len(right.encode())])
        for a, b in PIECES
    )


def test_no_merge_crosses_a_seam() -> None:
    sides, pairs = seam_arrays(PIECES)
    characters = "x中国人民大天地龘é\u00fcab \U00020000一丁七万"
    found = {}
    for left, right in itertools.product(characters, repeat=2):
        data = np.frombuffer((left + right).encode(), np.uint8)
        end = part_end(sides, pairs, filter_shift(pairs), data, 0, len(data))
        found[left, right] = end < len(data)
    assert not [pair for pair, seam in found.items() if seam and _joins(*pair)]
    apart = [pair for pair in found if not _joins(*pair)]
    assert sum(found[pair] for pair in apart) > 0.8 * len(apart)
    for pair in [("中", "国"), ("x", "中"), (" ", "中"), ("国", "人"), ("民", "大"), ("天", "地")]:
        assert not found[pair]
    assert found["国", "龘"]
    assert found["龘", "国"]
