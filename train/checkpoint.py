"""Checkpoints of a run: written aside, made current by one rename, used only when whole.

    checkpoints/step-00000500/
        manifest.json     every file with its size and xxh3-128; written last
        progress.json     the step, the loader's cursor, and what the layout was
        state/            DeepSpeed's own files

DeepSpeed's files are pickles: they are opened only after the manifest check, and only from the
run's own folder or a path given by name. Checksums detect damage, not malice.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import xxhash
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from preprocess.errors import WholewordError
from train.ranks import Ranks

STATE = "state"  # DeepSpeed's tag
ASIDE = ".writing-"  # what begins so is a leftover after a kill
_DOOMED = ".deleting-"


class Progress(BaseModel):
    """How far a run is, and on what layout its state lies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int = Field(ge=0)
    """Optimizer steps done."""
    epoch: int = Field(ge=0)
    cursor: dict[str, int]
    """Where the loader goes on."""
    best_loss: float | None
    """The lowest validation loss so far."""
    evaluations_since_best: int
    world_size: int
    stage: int
    precision: str
    settings: dict[str, Any]
    """What shapes results, as `run_folder.settings` collects it."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    bytes: int
    xxh3_128: str


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    files: dict[str, _File]


def save(engine: Any, folder: Path, progress: Progress, keep: int, ranks: Ranks) -> Path:
    """Write a checkpoint of `engine`, and delete the oldest beyond `keep` (0 keeps all).

    Every rank calls this. Until the rename at the end, resuming sees the checkpoint before.

    Raises:
        WholewordError: the disk is full or cannot be written.
    """
    final = folder / f"step-{progress.step:08d}"
    aside = folder / f"{ASIDE}{final.name}"
    try:
        if ranks.first:
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in [*folder.glob(f"{ASIDE}*"), *folder.glob(f"{_DOOMED}*")]:
                shutil.rmtree(leftover)
        ranks.wait()
        engine.save_checkpoint(str(aside), tag=STATE, save_latest=False)
        if ranks.first:
            (aside / "progress.json").write_text(progress.model_dump_json(indent=2) + "\n")
            _write_manifest(aside)
            _discard(final)
            aside.rename(final)
            sync_folder(folder)
            for old in checkpoints(folder)[keep:] if keep else ():
                _discard(old)
        ranks.wait()
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        cause = str(error).splitlines()[0]
        raise WholewordError(
            f"{aside}: the checkpoint cannot be written ({cause}); make room and run the same "
            "command again, it continues from the checkpoint before"
        ) from error
    return final


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first, whole or not."""
    return sorted(folder.glob("step-*"), reverse=True)


def newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint without damage, and why newer ones were skipped, a line each."""
    skipped: list[str] = []
    for checkpoint in checkpoints(folder):
        damage = find_damage(checkpoint)
        if damage is None:
            return checkpoint, skipped
        skipped.append(f"{checkpoint}: skipped, {damage}")
    return None, skipped


def find_damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's files, or None; reads every byte."""
    try:
        manifest = _Manifest.model_validate_json((checkpoint / "manifest.json").read_bytes())
    except (OSError, ValidationError):
        return "manifest.json is missing or damaged"
    for name, entry in manifest.files.items():
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            return f"manifest.json names {name}, which is outside"
        file = checkpoint / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != entry.bytes:
            return f"{name} has {file.stat().st_size} bytes instead of {entry.bytes}"
        if _digest(file) != entry.xxh3_128:
            return f"{name} has another checksum than when it was written"
    if "progress.json" not in manifest.files:
        return "progress.json is not in the manifest"
    try:
        read_progress(checkpoint)
    except ValidationError:
        return "progress.json is damaged"
    return None


def read_progress(checkpoint: Path) -> Progress:
    """What a whole checkpoint says about the run."""
    return Progress.model_validate_json((checkpoint / "progress.json").read_bytes())


def load(engine: Any, checkpoint: Path) -> None:
    """Give `engine` the state of a whole checkpoint that was saved on the same layout."""
    path, _ = engine.load_checkpoint(str(checkpoint), tag=STATE)
    if path is None:
        raise WholewordError(f"{checkpoint}: DeepSpeed finds no state in it; delete it")


def sync_folder(folder: Path) -> None:
    """Put a folder's names on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_manifest(folder: Path) -> None:
    files = {}
    for file in _files(folder):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
        name = file.relative_to(folder).as_posix()
        files[name] = {"bytes": file.stat().st_size, "xxh3_128": _digest(file)}
    manifest = folder / "manifest.json"
    with manifest.open("w") as handle:
        json.dump({"files": files}, handle, indent=2)
        handle.flush()
        os.fsync(handle.fileno())
    for inner in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        sync_folder(inner)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _digest(file: Path) -> str:
    digest = xxhash.xxh3_128()
    with file.open("rb") as handle:
        while block := handle.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _discard(folder: Path) -> None:
    """Delete a checkpoint so that no half of it is ever seen under its name."""
    if folder.exists():
        doomed = folder.with_name(_DOOMED + folder.name)
        folder.rename(doomed)
        shutil.rmtree(doomed)
