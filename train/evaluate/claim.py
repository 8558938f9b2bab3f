"""Whose an output folder is: what its numbers depend on, written there before the work begins."""

import json
from pathlib import Path
from typing import Any

from preprocess.errors import WholewordError
from preprocess.files import write_json

_OPTIONS = "options.json"
_BRIEF = 80
_OWN_LOGS = (".log", ".out")  # a command's output may go into its folder


def claim_output(output: Path, wanted: dict[str, Any], kind: str) -> None:
    """Refuse a folder that is another's; else write there whose it is.

    A folder that holds nothing but such a claim is taken over: what claimed it has failed.

    Args:
        output: made if it is not there.
        wanted: everything that the results depend on, by the names of the options, as JSON has it.
        kind: what the folder holds, for a person: "a comparison".

    Raises:
        WholewordError: the folder holds one with other options, or something else, or cannot be
            used.
    """
    file = output / _OPTIONS
    try:
        output.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in output.iterdir() if path.suffix not in _OWN_LOGS}
        if not names:
            write_json(file, wanted)
            return
        found = json.loads(file.read_text(encoding="utf-8")) if _OPTIONS in names else None
        if not isinstance(found, dict) or not wanted.keys() <= found.keys():
            raise WholewordError(
                f"{output}: holds other files than {kind}'s; choose another --output, or an empty "
                "folder"
            )
        if names == {_OPTIONS}:
            write_json(file, wanted)
            return
    except (OSError, ValueError) as error:
        raise WholewordError(
            f"{output}: cannot be used ({error}); choose another --output"
        ) from error
    for name, value in wanted.items():
        if found.get(name) != value:
            raise WholewordError(
                f"{output}: holds {kind} with other {name.replace('_', ' ')} "
                f"({_brief(found.get(name))}; now {_brief(value)}); choose another --output, or "
                "remove that folder"
            )


def _brief(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _BRIEF else f"{text[: _BRIEF - 3]}..."
