import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from preprocess.encode.compiled.utf8 import BYTES_OF_CHARACTER, decode, previous, replace_invalid

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


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=6),
            st.text(max_size=3).map(lambda text: text.encode("utf-8", "surrogatepass")),
            st.sampled_from(
                [b"\xef\xbf\xbd", b"\xe4", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5", b"\xf0\x9f"]
            ),
        )
    ).map(b"".join)
)
def test_invalid_bytes_become_what_python_makes_of_them(data: bytes) -> None:
    replaced = 0

    def count(error: UnicodeError) -> tuple[str, int]:
        nonlocal replaced
        replaced += 1
        assert isinstance(error, UnicodeDecodeError)
        return "\ufffd", error.end

    import codecs

    codecs.register_error("count", count)
    text, found = replace_invalid(data)
    assert text.decode() == data.decode("utf-8", "count") == data.decode("utf-8", "replace")
    assert found == replaced
