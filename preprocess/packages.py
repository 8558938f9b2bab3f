"""Whether this Python has what the program stands on; imports nothing that has to be installed."""

import sys
from importlib.util import find_spec

NEEDED = ("rich", "typer", "numpy", "pyarrow", "numba", "tokenizers", "transformers", "torch")
"""Modules of packages without which no command begins. Where one is missing, most are."""


def require_packages() -> None:
    """End in one line, with status 1, where a package is missing, before anything imports it."""
    missing = next((name for name in NEEDED if find_spec(name) is None), None)
    if missing:
        sys.exit(
            f"error: {missing} is not installed in this Python ({sys.executable}); "
            "activate the environment (. .venv/bin/activate) or pip install ."
        )
