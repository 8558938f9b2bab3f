"""What an input file is by its name: its form and its compression; the case does not matter."""

import os.path
from typing import Literal

Form = Literal["text", "jsonl", "json", "csv", "tsv", "parquet", "arrow"]
FORMS: dict[str, Form] = {
    ".txt": "text",
    ".jsonl": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
TABLES = ("parquet", "arrow")
"""Forms that are not text: they are compressed inside, and have no encoding."""
COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
KNOWN = f"{', '.join(FORMS)}, text also compressed ({', '.join(COMPRESSIONS)})"
"""All of them in words."""


def compression_of(name: str) -> str:
    """One of `COMPRESSIONS`, or nothing."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 (200,000 names: pathlib is slow)
    return suffix if suffix in COMPRESSIONS else ""


def form_of(name: str) -> Form | None:
    """The form that a name promises, None for an unknown one."""
    compression = compression_of(name)
    plain = name[: len(name) - len(compression)]
    form = FORMS.get(os.path.splitext(plain)[1].lower())  # noqa: PTH122
    return None if compression and form in TABLES else form
