"""The name under which Wholeword is installed.

The programs are the packages `preprocess` and `train`. In a checkout they lie beside this one. In a
wheel they lie inside it, off the path, with the samples and DeepSpeed's files: so an installed
Wholeword neither hides a person's own `train` or `preprocess`, nor is hidden by it. The command
`wholeword` finds them, and so does a program that calls `use`.
"""

import importlib.util
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
ROOT = _HERE / "inside" if (_HERE / "inside").is_dir() else _HERE.parent
"""The folder that holds preprocess/, train/, ds_configs/ and samples/."""
PACKAGES = ("preprocess", "train")


def use() -> None:
    """Make `import preprocess` and `import train` mean Wholeword's, from here on.

    Where another package of such a name could have been imported, a line on standard error says
    that it is hidden.

    Raises:
        ImportError: another one is imported already.
    """
    for name in PACKAGES:
        loaded = sys.modules.get(name)
        place = _place(getattr(loaded, "__spec__", None)) if loaded else _find(name)
        if place is None or ROOT in place.parents:
            continue
        if loaded:
            raise ImportError(f"{place} is imported as `{name}`; call wholeword.use() before that")
        print(
            f"wholeword: in this process `{name}` is wholeword's own, and hides {place}; name "
            "yours differently to use both",
            file=sys.stderr,
        )
    if str(ROOT) not in sys.path[:1]:
        sys.path.insert(0, str(ROOT))


def _find(name: str) -> Path | None:
    try:
        return _place(importlib.util.find_spec(name))
    except (ImportError, ValueError):
        return None


def _place(spec: object) -> Path | None:
    """The file or folder of a module."""
    origin = getattr(spec, "origin", None)
    places = [origin] if origin else list(getattr(spec, "submodule_search_locations", None) or [])
    return Path(places[0]).resolve() if places else None
