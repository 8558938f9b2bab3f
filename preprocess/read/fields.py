"""The text of a record: which of its fields are joined, and what holds no text."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from preprocess.errors import WholewordError
from preprocess.read.sources import ReadOptions

MISSING = object()
REASONS = ("no_text_field", "null_texts", "not_text")
"""Counts of records that are left out: without the field, null in it, or no text in it."""
_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}
MAX_NAMES = 20
_MEND = "; mend it, or leave out --strict, which would count it"


def find_value(record: dict[str, Any], path: str) -> Any:
    """What a field holds: the one of that very name, else the one that its dots lead to."""
    if path in record:
        return record[path]
    value: Any = record
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return MISSING
        value = value[name]
    return value


@dataclass
class RecordTexts:
    """Texts of some consecutive records, and why others have none."""

    options: ReadOptions
    texts: list[str] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    characters: int = 0
    first_missing: tuple[int, str] | None = None
    """Position of the first record without the field, and what it has instead."""

    def add(self, record: dict[str, Any], position: int) -> str | None:
        """Take a record; where the options are strict, says why it has no text."""
        fields = self.options.text_fields
        value = record.get(fields[0])
        if isinstance(value, str) and len(fields) == 1:  # as nearly always
            self.texts.append(value)
            self.positions.append(position)
            self.characters += len(value)
            return None
        values = [find_value(record, path) for path in fields]
        texts = [value for value in values if isinstance(value, str)]
        if not texts or (self.options.strict and any(_is_wrong(value) for value in values)):
            return self._leave_out(record, position, values)
        text = self.options.field_separator.join(filter(None, texts))
        self.texts.append(text)
        self.positions.append(position)
        self.characters += len(text)
        self.counts["not_text"] += sum(_is_wrong(value) for value in values)
        return None

    def _leave_out(self, record: dict[str, Any], position: int, values: list[Any]) -> str | None:
        names = " and ".join(map(repr, self.options.text_fields))
        if any(map(_is_wrong, values)):
            kind = next(_KINDS.get(type(v), "no text") for v in values if _is_wrong(v))
            reason, words = "not_text", f"the field {names} holds {kind}, not text{_MEND}"
        elif None in values:
            reason, words = "null_texts", f"the field {names} is null{_MEND}"
        else:
            has = _listed(list(record))
            reason = "no_text_field"
            words = f"no field {names} (it has {has}); name one with --text-field"
            self.first_missing = self.first_missing or (position, words)
        self.counts[reason] += 1
        return words if self.options.strict else None

    def missing_everywhere(self) -> tuple[int, str] | None:
        """Position and words of the first record, if none of them has the field."""
        return None if self.texts or self.counts["null_texts"] else self.first_missing


def _is_wrong(value: Any) -> bool:
    return not (isinstance(value, str) or value is None or value is MISSING)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
    return shown or "nothing at all"


def unknown_column(
    path: str, name: str, columns: list[str], problem: str = "is not in it"
) -> WholewordError:
    """The error for a table without a column of text, which lists those that it has."""
    return WholewordError(
        f"{path}: the column {name!r} {problem}; it has {_listed(columns)}; name one with "
        "--text-field"
    )
