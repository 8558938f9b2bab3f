"""hypothesis strategies for text that is hard on an encoder."""

from hypothesis import strategies as st

PIECES = [
    *[
        "中国人民",
        "的",
        "了",
        "一了",
        "国之大",
        "我们",
        "云计算",
        "三国演义",
        "不是",
        "的人",
        "天下",
    ],
    *[
        "是在",
        "和有",
        "龙龘靐",
        "〇",
        "々",
        "ー",
        "カタカナ",
        "ｱ",
        "①",
        "½",
        "\u4e00\u9fd5\u9fd6\u9fff",
    ],
    *["T恤", "AT&T", "C++", "i-pod", "+#&", "%", "_", "-", "abc", "The", "running", "unaffable"],
    *["1.5", "3.14%", "1.%", "2.5.6", "...", "0", "。", "！", "”", "…", "⋯", "?", ".", "」", "\"'"],
    *["\u0301", "\u0323", "\u0345", "\u0334", "\u0344", "\u0f73", "\u1b44", "\ua9c0", "\u302e"],
    *["\u0bca", "\U0001d15e", "\U0001d165", "\U00016ff0", "\U0001e08f", "\u1df5", "\u0bbe"],
    *["각", "한국", "\u1100\u1161\u11a8", "\u11a8", "\ud7fb", "豈", "\ufa0e", "\U0002f800"],
    *["\U00020000", "\U0002a700", "\U0002ceb0", "\U00030000", "\U00031350", "\U0002ebf0"],
    *[
        "👨‍👩‍👧",
        "❤️",
        "\u200b",
        "\u200d",
        "\u200e",
        "\0",
        "\x01",
        "\x7f",
        "\ufffd",
        "\ufeff",
        "\u00ad",
    ],
    *["\r\n", "\n", "\r", "\n\r", "\u2028", "\u2029", "\u0085", "\x1c", "\x1f", "\x0b"],
    *["\u3000", " ", "  ", "\u00a0", "\u202f", "\u1680", "\t"],
    *["０１２", "％", "．", "Ａ", "！？", "（", "【"],
    *["İ", "ß", "Σ", "ς", "ΑΣ", "é", "ế", "Å", "ﬁ", "ǆ", "ẞ", "\u1e9e", "\u037e", "≠"],
    *["[SEP]", "[MASK]", "[UNK]", "[PAD]", "##", "##a", "<s>", "[CLS]"],
    *["a" * 99, "b" * 100, "c" * 101, "é" * 100, "\u0301" * 120, "中" * 101, "x" * 7, "y" * 8],
]
"""Pieces that rules of the encoder name, and their neighbours."""

HAN = st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF)
CHARACTERS = st.one_of(
    HAN,
    st.characters(min_codepoint=0x20, max_codepoint=0x7E),
    st.characters(min_codepoint=0x300, max_codepoint=0x36F),
    st.characters(exclude_categories=["Cs"]),
)

texts = st.lists(
    st.one_of(st.sampled_from(PIECES), st.sampled_from(PIECES), CHARACTERS), max_size=40
).map("".join)
"""Of every plane, assigned or not."""

jieba_texts = st.lists(
    st.one_of(
        st.sampled_from(PIECES),
        HAN,
        st.sampled_from("+#&._%-aZ09中国人一了不的有\r\n "),
        st.text(HAN, min_size=3, max_size=12),
    ),
    max_size=60,
).map("".join)
"""Of what jieba has rules for."""
