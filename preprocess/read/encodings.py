"""Text that is not UTF-8: which encoding a file has, and its bytes as UTF-8.

What cannot be decoded becomes the byte 0xFF, which UTF-8 never has: it is replaced and counted with
everything else that is not UTF-8, in one place (`preprocess/read/batches.py`).
"""

import codecs
import difflib
from collections import Counter
from collections.abc import Iterator
from encodings.aliases import aliases

from preprocess.errors import WholewordError

SAMPLE_BYTES = 1 << 20
"""What the choice looks at: the beginning of a file, decompressed."""
UTF8 = "utf-8"
_UNICODE = {"utf-16-le": 2, "utf-16-be": 2, "utf-32-le": 4, "utf-32-be": 4}
"""Encodings of fixed units, and bytes a unit."""
_WESTERN = {"cp1252", "cp1251", "koi8_r"}
_UNITS = ["utf_16_le", "utf_16_be", "utf_32_le", "utf_32_be"]
_CANDIDATES = [*_UNITS, "gb18030", "big5", "cp932", "euc_jp", "cp949", *sorted(_WESTERN)]
"""What is looked for. With every code page there is, French would now and then be Baltic."""
_BOMS = {
    codecs.BOM_UTF8: UTF8,
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16's, which it begins with
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    "\ufeff".encode("gb18030"): "gb18030",
}
_LINES_BY_BYTE = {
    *("utf-8", "ascii", "gb2312", "gbk", "gb18030", "big5", "big5hkscs", "cp950", "cp949", "johab"),
    *("shift_jis", "shift_jis_2004", "shift_jisx0213", "cp932", "euc_jp", "euc_jis_2004", "euc_kr"),
    *("euc_jisx0213", "koi8-r", "koi8-u", "latin-1", "iso8859-1", "mac-roman", "tis-620", "cp437"),
    *("cp850", "cp866", "cp874", *(f"cp125{n}" for n in range(9))),
    *(f"iso8859-{n}" for n in range(1, 17)),
}
"""Encodings in which the byte 0x0A is a line feed wherever it stands."""
_NO_TEXT = {"unicode_escape", "raw_unicode_escape", "punycode", "idna", "undefined", "utf-7"}
_ENOUGH = 5
"""Fewer invalid sequences say nothing: a damaged byte or two are no other encoding."""
_PIECE = 8 << 10
_MESS = 0.2
"""How unlikely a text may look, as the detector measures it; its own default."""
_ERRORS = "wholeword-mark"
codecs.register_error(_ERRORS, lambda error: ("\udcff", error.end))  # type: ignore[attr-defined]


def check_encoding(name: str) -> None:
    """Refuse a name that is neither `auto` nor an encoding of text.

    Raises:
        WholewordError: naming the ones that are spelt nearly so.
    """
    if name != "auto" and not _is_text(name):
        names = sorted(filter(_is_text, {*aliases, *aliases.values()}))
        near = difflib.get_close_matches(name.lower().replace("-", "_"), names, 3, 0.7)
        hint = f"did you mean {', '.join(near)}" if near else "use auto, or a name such as gb18030"
        raise WholewordError(f"--encoding {name}: not an encoding of text; {hint}")


def _is_text(name: str) -> bool:
    try:
        "".encode(name)  # (base64 and its kind are codecs too)
        return codecs.lookup(name).name not in _NO_TEXT
    except (LookupError, ValueError):
        return False


def choose_encoding(sample: bytes, asked: str) -> str:
    """The encoding of a file that begins with `sample`, as Python's codec is called.

    Args:
        sample: the first `SAMPLE_BYTES`, or all of a smaller file.
        asked: the option's value.
    """
    if asked not in ("auto", "utf-16", "utf-32"):
        name = codecs.lookup(asked).name
        if name in ("utf-16", "utf-32"):
            return choose_encoding(sample, name)
        return UTF8 if name == "utf-8-sig" else name
    for bom, name in _BOMS.items():
        if sample.startswith(bom) and (asked == "auto" or name.startswith(asked)):
            return name
    units = sample[: len(sample) & ~3]
    if asked != "auto":
        names = [name for name in _UNITS if name.startswith(asked.replace("-", "_"))]
        return codecs.lookup(_detect(units, names) or names[0]).name
    if len(sample) == SAMPLE_BYTES:  # end where a character surely does
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    if not _has_units(units) and _is_utf8(sample):
        return UTF8
    found = _detect(units, _UNITS) if b"\0" in sample else None
    found = found or _detect(sample, _CANDIDATES)
    if found is None or found in _WESTERN:  # a damaged byte rules out what the rest of it is
        found = _vote(sample) or found or _detect(sample, _CANDIDATES, 2 * _MESS)
    return codecs.lookup(found).name if found else UTF8


def _has_units(sample: bytes) -> bool:
    """Whether so much is NUL as in UTF-16 and UTF-32 of any text with spaces and line ends."""
    return sample.count(0) > len(sample) / 10


def _is_utf8(sample: bytes) -> bool:
    """Whether the text is UTF-8, perhaps with damaged characters: one in four at most."""
    try:
        sample.decode()
        return True
    except UnicodeDecodeError:
        text = sample.decode(UTF8, "replace")
    leading = len(sample.translate(None, bytes(range(0xC0))))
    invalid = text.count("\ufffd") - sample.count(b"\xef\xbf\xbd")
    return invalid < max(_ENOUGH, leading / 4)


def _detect(sample: bytes, candidates: list[str], mess: float = _MESS) -> str | None:
    import charset_normalizer  # 0.1 s: only for text that is not UTF-8

    found = charset_normalizer.from_bytes(sample, cp_isolation=candidates, threshold=mess)
    best = found.best()
    return best.encoding if best else None


def _vote(sample: bytes) -> str | None:
    """What most pieces of the sample are, each cut at a line feed."""
    votes: Counter[str] = Counter()
    size = min(len(sample) // 16, _PIECE)
    begin = 0
    while begin < len(sample) and votes.total() < 32:
        end = sample.find(b"\n", begin + size) + 1 or len(sample)
        if found := _detect(sample[begin:end], _CANDIDATES):
            votes[found] += 1
        begin = end
    return votes.most_common(1)[0][0] if votes else None


def line_feed(encoding: str) -> bytes | None:
    """The bytes of a line feed; None where a file's lines cannot be found without decoding it."""
    if encoding in _UNICODE:
        return "\n".encode(encoding)
    return b"\n" if encoding in _LINES_BY_BYTE else None


def to_utf8(pieces: Iterator[tuple[bytes, int]], encoding: str) -> Iterator[tuple[bytes, int]]:
    """Pieces of a file as UTF-8, however they are cut; each with the number that came with it."""
    decoder = codecs.getincrementaldecoder(encoding)(errors=_ERRORS)
    for data, used in pieces:
        yield decoder.decode(data).encode(UTF8, "surrogateescape"), used
    # Half a character before the end must not swallow the line feed that ends a split.
    guard = "" if encoding in _UNICODE else "\n" * 3
    rest = decoder.decode(guard.encode(encoding), True)
    yield rest[: len(rest) - len(guard)].encode(UTF8, "surrogateescape"), 0
