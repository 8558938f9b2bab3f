"""Functions of the user's own, named `package.module:function` on the command line."""

import hashlib
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from preprocess.errors import WholewordError

_OURS = ("preprocess", "train")


def load_function(flag: str, name: str) -> Callable[[str], Any]:
    """The function that a flag names; it takes a str.

    Raises:
        WholewordError: it cannot be imported, or is no function.
    """
    module, _, attribute = name.partition(":")
    try:
        function: Callable[[str], Any] = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # the module is the user's
        if module.partition(".")[0] in _OURS:
            raise WholewordError(
                f"{flag} {name}: `{module.partition('.')[0]}` is wholeword's own package; give "
                "your module another name"
            ) from error
        raise WholewordError(
            f"{flag} {name}: cannot be imported ({error}); name an importable "
            "package.module:function"
        ) from error
    if not callable(function):
        raise WholewordError(f"{flag} {name}: not a function; it must take a str")
    return function


def call_function(flag: str, name: str, function: Callable[[str], Any], text: str) -> Any:
    """What the user's function makes of a text.

    Raises:
        WholewordError: it raised anything, with the beginning of the text.
    """
    try:
        return function(text)
    except Exception as error:  # the user's code may raise anything
        raise WholewordError(
            f"{flag} {name}: raised {type(error).__name__} ({error}) for the document that "
            f"begins with {text[:20]!r}; mend the function"
        ) from error


def source_sha256(function: Callable[[str], Any]) -> str:
    """SHA-256 of the source file of a function, so that an edit is noticed; empty without one."""
    try:
        return hashlib.sha256(inspect.getsource(inspect.getmodule(function)).encode()).hexdigest()  # type: ignore[arg-type]
    except (OSError, TypeError):
        return ""
