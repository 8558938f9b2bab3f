"""What the pictures of runs and of comparisons share."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "WenQuanYi Zen Hei")
"""matplotlib's own font has no Han characters; a name may have."""


@contextlib.contextmanager
def drawing(**style: Any) -> Iterator[Any]:
    """Yield pyplot, which draws into files alone, with our fonts and a style of matplotlib's keys.

    A letter that no font has is a box in the picture, and nothing on the terminal.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    settings: Any = {"font.sans-serif": list(FONTS), **style}
    with pyplot.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield pyplot
