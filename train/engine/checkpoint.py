"""Checkpoints of a run: written aside, made current by one rename, used only when whole.

    checkpoints/step-00000500/
        manifest.json     every file with its size and xxh3-128; written last
        progress.json     the step, the loader's cursor, and what the layout was
        state/            DeepSpeed's own files
        part.json         where machines keep their own files: whose are here, and of which save

DeepSpeed's files are pickles: they are opened only after the manifest check, and only from the
run's own folder or a path given by name. Checksums detect damage, not malice.
"""

import contextlib
import math
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Any, Self

import xxhash
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from preprocess.errors import WholewordError
from preprocess.files import first_step, publish, sync_tree, write_json
from train.engine.optimizer import keeping_hyperparameters
from train.engine.place import Place, shared_place
from train.engine.process_group import Ranks

_PART = "part.json"
STATE = "state"  # DeepSpeed's tag
ASIDE = ".writing-"  # what begins so is a leftover after a kill
_DOOMED = ".deleting-"
FULL_DISK = (OSError, RuntimeError)  # what writing raises on one; torch.save, the second
_WRITE_FAILED = "inline_container.cc"  # in the latter's words; where torch writes its files


class RunProgress(BaseModel):
    """How far a run is, and on what layout its state lies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int = Field(ge=0)
    """Optimizer steps done."""
    epoch: int = Field(ge=0)
    cursor: dict[str, Any]
    """Where the loader goes on."""
    best_loss: float | None
    """The lowest validation loss so far."""
    evaluations_since_best: int
    data_step: int = Field(default=0, ge=0)
    """The step at which the data of `settings` began to be read; above 0 after a change of it."""
    last_validation: int | None = None
    """Step of the last validation, -1 before the first; None in checkpoints that do not say."""
    packed: bool | None = None
    """Whether batches are packs rather than padded rows; None in checkpoints that do not say."""
    world_size: int
    stage: int
    precision: str
    settings: dict[str, Any]
    """What shapes results, as `train.run.folder.settings` collects it."""

    @model_validator(mode="after")
    def _cursor_is_near(self) -> Self:
        """A cursor of a later epoch than the last step's first pack: that step came into it."""
        packs_of_a_step = 1
        with contextlib.suppress(KeyError, TypeError, ValueError, ZeroDivisionError):
            rows = int(self.settings["global_batch_size"])
            packs_of_a_step = rows // int(self.settings["per_device_train_batch_size"])
        epoch, *places = (self.cursor.get(name, 0) for name in ("epoch", "window", "pack"))
        if not all(type(number) is int for number in (epoch, *places)):
            raise ValueError(f"the cursor {self.cursor} is no place")
        later = epoch - self.epoch
        # What that step took of later epochs: a pack at least of each epoch and window gone by.
        if later < 0 or (later and later - 1 + sum(places) >= packs_of_a_step):
            raise ValueError(f"the cursor {self.cursor} is not where epoch {self.epoch} can end")
        return self

    def after_validation(self, loss: float) -> Self:
        """The same after a validation at this step; what is not a number is never the best."""
        better = math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss)
        return self.model_copy(
            update={
                "best_loss": loss if better else self.best_loss,
                "evaluations_since_best": 0 if better else self.evaluations_since_best + 1,
                "last_validation": self.step,
            }
        )


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    bytes: int
    xxh3_128: str


class Part(BaseModel):
    """Which part of a checkpoint a machine has, where each keeps its own files."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    save: str
    """The same in all parts of one save, and in no other."""
    ranks: tuple[int, ...]
    world_size: int

    def __str__(self) -> str:
        return f"rank {', '.join(map(str, self.ranks))} of {self.world_size}"


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    files: dict[str, _File]


class Saver:
    """Writes a run's checkpoints, and lets training go on during the slow part.

    Every rank has one, and calls `save` and `wait` when the others do. First all ranks write their
    files, which so far may lie in memory only. Then a thread of rank 0 puts them on disk, makes the
    checkpoint current by a rename, and deletes the oldest. Until that rename, resuming sees the
    checkpoint before. At most one checkpoint is under way. Where machines keep their own files, one
    rank of each does what rank 0 does.

    As a context manager it waits at the end, whatever the end is.

    Args:
        folder: where the checkpoints are.
        keep: how many of them to keep; 0 keeps all.
        ranks: the run's.
        place: who shares the folder with this rank; None where all do.
    """

    def __init__(self, folder: Path, keep: int, ranks: Ranks, place: Place | None = None) -> None:
        self._folder = folder
        self._keep = keep
        self._ranks = ranks
        self._place = place or shared_place(ranks)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._under_way: Future[None] | None = None

    def save(self, engine: Any, progress: RunProgress) -> None:
        """Write a checkpoint of `engine`, which may change as soon as this returns.

        Raises:
            WholewordError: this one, or the one before, cannot be written.
        """
        self.wait()
        final = self._folder / f"step-{progress.step:08d}"
        aside = self._folder / f"{ASIDE}{final.name}"
        self._ranks.together(lambda: self._make_room(aside))
        with _writing(aside, OSError), _problems(engine, aside) as problems:
            engine.save_checkpoint(str(aside), tag=STATE, save_latest=False)
        self._ranks.raise_first(next(iter(problems), None))
        texts = {"progress.json": progress.model_dump_json(indent=2) + "\n"}
        if self._place.is_part:
            save = self._ranks.share(secrets.token_hex(8))
            part = Part(save=save, ranks=self._place.ranks, world_size=self._place.world_size)
            texts[_PART] = part.model_dump_json() + "\n"
        self._ranks.together(lambda: self._write(aside, texts))
        if self._place.leads:
            self._under_way = self._thread.submit(_make_current, aside, final, self._keep)

    def _make_room(self, aside: Path) -> None:
        """Make the folder of checkpoints, and remove what a kill has left in it."""
        if not self._place.leads:
            return
        with _writing(aside, OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            for pattern in (f"{ASIDE}*", f"{_DOOMED}*"):
                for leftover in self._folder.glob(pattern):
                    shutil.rmtree(leftover)

    @property
    def failed(self) -> bool:
        """Whether `wait` would raise, as far as this rank knows by now."""
        future = self._under_way
        return future is not None and future.done() and future.exception() is not None

    def wait(self) -> None:
        """Wait until the last checkpoint is current.

        Raises:
            WholewordError: it cannot be written; every rank raises the same.
        """
        error = self._under_way.exception() if self._under_way is not None else None
        self._under_way = None
        self._ranks.raise_first(error)

    def _write(self, aside: Path, texts: dict[str, str]) -> None:
        """Write what stands beside DeepSpeed's files, by names."""
        if self._place.leads:
            with _writing(aside, OSError):
                for name, text in texts.items():
                    (aside / name).write_text(text, encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()


def _make_current(aside: Path, final: Path, keep: int) -> None:
    """Put a written checkpoint on disk and under its name, and delete the oldest beyond `keep`."""
    with _writing(aside, OSError):
        _write_manifest(aside)
        _discard(final)
        publish(aside, final)
        # Newer ones are damaged, or of a run that went back: no reason to delete what it has now.
        so_far = [path for path in checkpoints(final.parent) if path.name <= final.name]
        for old in so_far[keep:] if keep else ():
            _discard(old)


@contextlib.contextmanager
def _problems(engine: Any, folder: Path) -> Iterator[list[WholewordError]]:
    """Collect what goes wrong with a rank's files, where raising leaves the others in a barrier."""
    problems: list[WholewordError] = []
    write = engine.checkpoint_engine.save

    def write_or_note(*arguments: Any, **named: Any) -> None:
        try:
            with _writing(folder, *FULL_DISK):
                write(*arguments, **named)
        except WholewordError as problem:
            problems.append(problem)

    engine.checkpoint_engine.save = write_or_note
    try:
        yield problems
    finally:
        engine.checkpoint_engine.save = write


def _writing(folder: Path, *errors: type[Exception]) -> AbstractContextManager[None]:
    remedy = "run the same command again, it continues from the checkpoint before"
    return room_for(f"{folder}: the checkpoint cannot be written", remedy, *errors)


@contextlib.contextmanager
def room_for(what: str, remedy: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn the errors of writing into the line "WHAT (CAUSE); make room and REMEDY"."""
    try:
        yield
    except errors as error:
        if isinstance(error, RuntimeError) and _WRITE_FAILED not in str(error):
            raise
        text = getattr(error, "strerror", None) or str(error)
        cause = next(iter(text.splitlines()), type(error).__name__)
        raise WholewordError(f"{what} ({cause}); {first_step(error)} and {remedy}") from error


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


def newest_everywhere(folder: Path, place: Place, ranks: Ranks) -> tuple[Path | None, list[str]]:
    """`newest_whole` where machines keep their own files: all have to have theirs.

    Every rank calls this, and one of each machine reads.
    """
    mine = {path.name for path in checkpoints(folder)} if place.leads else set()
    skipped: list[str] = []
    for name in sorted(set().union(*ranks.gather(mine)), reverse=True):
        checkpoint, damage, save = folder / name, None, None
        if place.leads:
            damage = "is not there" if name not in mine else find_damage(checkpoint, place)
            part = None if damage else read_part(checkpoint)
            save = part and part.save
        found = ranks.gather((place.leads, socket.gethostname(), damage, save))
        leaders = [values for values in found if values[0]]
        problems = [f"{damage} on {host}" for _, host, damage, _ in leaders if damage]
        if not problems and len({save for *_, save in leaders}) > 1:
            problems = ["the machines have parts of different saves"]
        if not problems:
            return checkpoint, skipped
        skipped.append(f"{name}: skipped, {problems[0]}")
    return None, skipped


def read_part(checkpoint: Path) -> Part | None:
    """Which part of a checkpoint is here; None for a whole one."""
    file = checkpoint / _PART
    return Part.model_validate_json(file.read_bytes()) if file.exists() else None


def find_damage(checkpoint: Path, place: Place | None = None) -> str | None:
    """What is wrong with a checkpoint's files, or None; reads every byte.

    Args:
        checkpoint: its folder.
        place: of the ranks that need its files; None where all do.
    """
    try:
        manifest = _Manifest.model_validate_json((checkpoint / "manifest.json").read_bytes())
    except (OSError, ValidationError):
        return "manifest.json is missing or damaged"
    for name, entry in manifest.files.items():
        try:
            damage = _damage_of(checkpoint, name, entry)
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        if damage is not None:
            return damage
    if "progress.json" not in manifest.files:
        return "progress.json is not in the manifest"
    for file in sorted(checkpoint.rglob("*.pt")):  # DeepSpeed looks for its files by pattern
        if file.relative_to(checkpoint).as_posix() not in manifest.files:
            return f"{file.relative_to(checkpoint)} is not in the manifest"
    try:
        read_progress(checkpoint)
        part = read_part(checkpoint)
    except ValidationError:
        return "progress.json is damaged"
    if part is not None and (place is None or part.ranks != place.ranks):
        return (
            f"holds the files of {part} alone, so it can be used only with --node-local-output, "
            "and where these ranks run"
        )
    return None


def _damage_of(checkpoint: Path, name: str, entry: _File) -> str | None:
    """What is wrong with one file of the manifest, or None."""
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
    return None


def read_progress(checkpoint: Path) -> RunProgress:
    """What a whole checkpoint says about the run."""
    return RunProgress.model_validate_json((checkpoint / "progress.json").read_bytes())


def load(engine: Any, checkpoint: Path) -> None:
    """Give `engine` the state of a whole checkpoint that was saved on the same layout."""
    # DeepSpeed takes paths for patterns: a run's own may have a [
    with contextlib.chdir(checkpoint), keeping_hyperparameters(engine):
        path, _ = engine.load_checkpoint(os.curdir, tag=STATE)
    if path is None:
        raise WholewordError(f"{checkpoint}: DeepSpeed finds no state in it; delete it")


def _write_manifest(folder: Path) -> None:
    sync_tree(folder)
    files = {
        file.relative_to(folder).as_posix(): {
            "bytes": file.stat().st_size,
            "xxh3_128": _digest(file),
        }
        for file in _files(folder)
    }
    write_json(folder / "manifest.json", {"files": files})


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
