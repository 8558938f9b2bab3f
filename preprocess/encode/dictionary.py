"""A user dictionary of jieba: its words, those that can never match, and whether any occurs."""

import re
from pathlib import Path

import pyarrow as pa

_LINE = re.compile(r"(.+?)( [0-9]+)?( [a-z]+)?", re.ASCII)
"""A line as jieba reads it (`re_userdict` in jieba/__init__.py)."""
_WORD = re.compile(r"[\u4E00-\u9FD5a-zA-Z0-9+#&\._%\-]+")
"""What jieba looks for words in (`re_han_default`): all other characters end a word."""
MOST_CHARACTERS = 1 << 20
"""Characters of a task in which words are looked for."""


def read_words(path: str) -> list[str]:
    """The words of a user dictionary."""
    lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    found = (_LINE.fullmatch(line.strip()) for line in lines)
    return [match[1] for match in found if match]


def never_match(words: list[str]) -> list[str]:
    """Words with a character at which jieba ends every word."""
    return [word for word in words if not _WORD.fullmatch(word)]


class DictionaryWords:
    """Whether any word of the user dictionaries occurs in a task; stops looking at the first."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        words = {word for path in paths for word in read_words(path)}
        self._words = words - set(never_match(list(words)))
        self._lengths = sorted(set(map(len, self._words)))
        self.begin_task()

    def begin_task(self) -> None:
        """Begin to look."""
        self.occur = False
        self._left = MOST_CHARACTERS if self._words else 0

    def add(self, documents: pa.LargeStringArray) -> None:
        """Look at documents."""
        place = 0
        while not self.occur and self._left > 0 and place < len(documents):
            text = documents[place].as_py()[: self._left]
            self._left -= len(text) + 1
            place += 1
            self.occur = any(
                text[begin : begin + length] in self._words
                for length in self._lengths
                for begin in range(len(text) - length + 1)
            )
