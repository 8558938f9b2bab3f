import numpy as np

from preprocess.encode.compiled.utf8 import BYTES_OF_CHARACTER, decode, previous

NO_SURROGATES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def test_every_code_point_is_decoded() -> None:
    data = np.frombuffer("".join(map(chr, NO_SURROGATES)).encode(), np.uint8)
    position = 0
    for expected in NO_SURROGATES:
        begin = position
        code_point, position = decode(data, position)
        assert code_point == expected
        assert position - begin == BYTES_OF_CHARACTER[expected]
        assert previous(data, position) == begin
    assert position == len(data)
