"""Which of a folder's files of weights cannot be read: libraries do not name it."""

import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

from train.model.presets import is_folder

_POINTER = b"version https://git-lfs"
_ZIP = b"PK\x03\x04"


def find_damaged_weights(name: str) -> str | None:
    """A line about the first damaged file, with its remedy; None where none is seen.

    Args:
        name: of a model; a hub id has no folder to look at.
    """
    folder = Path(name)
    if not is_folder(folder):
        return None
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]):
        if cause := _damage(file):
            return f"{file}: {cause}"
    return None


def _damage(file: Path) -> str | None:
    with file.open("rb") as stream:
        begin = stream.read(len(_POINTER))
    if begin == _POINTER:
        return "is a pointer of Git LFS, not the weights; run `git lfs pull` in its folder"
    again = "; copy it again"
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, "numpy"):
                return None
        except SafetensorError as error:
            return f"is damaged or incomplete ({error}){again}"
    # torch.save writes a zip archive, whose directory stands at its end.
    if not begin or (begin.startswith(_ZIP) and not zipfile.is_zipfile(file)):
        return f"is damaged or incomplete{again}"
    return None
