"""The build's own state, `.build/` in the output folder: lock, plan, reports of finished tasks.

Readers of shards never look at it. A task's report is written after its shards have their names, so
a report is the proof that they are whole; after the build only the plan and the lock remain.
"""

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import xxhash
from pydantic import BaseModel, ConfigDict

from preprocess.addresses import AddressError
from preprocess.clean.samples import Sample
from preprocess.errors import WholewordError
from preprocess.files import first_step, remove, write_json
from preprocess.format import PARTS
from preprocess.options import WHOLE, Slice
from preprocess.places import Place, is_remote
from preprocess.run.differences import all_inputs, differences
from preprocess.run.lease import lease
from preprocess.write.manifest import FILE, read_manifest
from preprocess.write.shards import seal, unseal, write_index

STATE = ".build"
_DATASET_FILES = (FILE, "dataset_dict.json", "tokenizer", *PARTS)


class PartReport(BaseModel):
    """What one task wrote into one part."""

    model_config = ConfigDict(extra="forbid")
    TOTALS: ClassVar = ("documents", "rows", "tokens", "words", "unknown")

    documents: int = 0
    rows: int = 0
    tokens: int = 0
    words: int = 0
    unknown: int = 0
    bytes: int = 0
    xxh3_128: str = ""
    length_histogram: dict[int, int] = {}


class TaskReport(BaseModel):
    """What one task wrote: the proof that its shards are whole."""

    model_config = ConfigDict(extra="forbid")

    number: int
    parts: dict[str, PartReport]
    counts: dict[str, int]
    indexes: dict[str, str] = {}
    """xxh3-128 of the file with each part's rows of the index."""
    documents: int = 0
    """Documents that were read, those that were left out included."""
    samples: list[Sample] = []
    """Some of what was left out, by every reason."""
    distinct: list[int] = []
    """The smallest hashes of its documents (`DistinctTexts`)."""
    unknown_characters: dict[str, int] = {}
    """How often characters that the tokenizer lacks stood in a sample."""
    contradicting: dict[str, tuple[int, int]] = {}
    """By file, its documents and those that contradict its encoding: where there are any, and of
    the first and the last file, which other tasks may read too."""
    has_dictionary_words: bool = False
    """Whether a word of the user dictionaries occurs."""
    carriage_returns: int = 0
    """Those in its documents with no line feed behind them."""
    copies: dict[int, int] = {}
    """Of the last task: copies of each text that is held out, by hash, for more text later."""

    def save(self, output: Path, indexes: dict[str, pa.Table]) -> None:
        """Write the index tables, then the report."""
        for part, table in indexes.items():
            self.indexes[part] = write_index(_index_path(output, self.number, part), [table])
        report = seal(self.model_dump(mode="json"))
        write_json(_report_path(output, self.number), report, shared=True)

    @staticmethod
    def load(output: Path, number: int) -> "TaskReport | None":
        """The report of a finished task, None where there is none or it is damaged."""
        try:
            text = _report_path(output, number).read_text(encoding="utf-8")
            return TaskReport.model_validate(unseal(dict(json.loads(text))))
        except FileNotFoundError:
            return None
        except AddressError:  # it may well be there
            raise
        except (OSError, ValueError, TypeError, RecursionError):  # (pydantic's is a ValueError)
            return None

    def load_index(self, output: Path, part: str) -> pa.Table | None:
        """The task's rows of a part's `index.arrow`, None where they are missing or damaged."""
        try:
            data = _index_path(output, self.number, part).read_bytes()
        except FileNotFoundError:
            return None
        except AddressError:
            raise
        except OSError:
            return None
        if xxhash.xxh3_128_hexdigest(data) != self.indexes.get(part):
            return None
        return pa.ipc.open_file(data).read_all()


def _report_path(output: Path, number: int) -> Path:
    return output / STATE / f"task-{number:05d}.json"


def _index_path(output: Path, number: int, part: str) -> Path:
    return output / STATE / f"task-{number:05d}-{part}.arrow"


def finished_tasks(output: Path) -> list[int]:
    """Numbers of the tasks that have a report, ascending."""
    names = (path.stem for path in (output / STATE).glob("task-*.json"))
    return sorted(int(name.removeprefix("task-")) for name in names)


@contextmanager
def locked(output: Path, *, shared: bool = False) -> Iterator[Callable[[], None]]:
    """Keep a second build out of the folder; the system releases the lock of a dead process.

    Args:
        output: the folder.
        shared: let others in that share it too: slices, which are safe without it (a file system of
            several machines may know no locks) and only keep out builds that are not.

    Yields:
        What raises `WholewordError` once the folder is another build's, which a lease allows.
    """
    if is_remote(output):
        with nullcontext(_nothing) if shared else lease(output, output / STATE / "lock") as check:
            yield check
        return
    try:
        (output / STATE).mkdir(parents=True, exist_ok=True)
        lock = (output / STATE / "lock").open("w")
    except OSError as error:
        raise WholewordError(
            f"{output}: cannot be written ({error.strerror}); name another --output"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WholewordError(
                f"{output}: another build is writing here; wait for it, or name another --output"
            ) from error
        except OSError:
            if not shared:
                raise
        yield _nothing


def _nothing() -> None:
    pass


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Turn what writing can raise (disk full, no permission) into one line with the remedy."""
    try:
        yield
    except OSError as error:  # reading the input has errors of its own
        raise WholewordError(
            f"{output}: cannot be written ({error.strerror or error}); {first_step(error)} and run "
            "the same command again (what is finished is kept)"
        ) from error


def is_finished(output: Path, identity: dict[str, Any]) -> bool:
    """Whether the output folder holds exactly this build, complete.

    Raises:
        WholewordError: the folder holds something else, or a build with other options or inputs.
    """
    if not _is_there(output):
        return False
    if not output.is_dir():
        raise WholewordError(f"{output}: is a file; name a folder with --output")
    state = output / STATE / "plan.json"
    if not state.exists():
        if {path.name for path in output.iterdir()} <= {STATE}:
            return False  # an empty folder, or killed before the plan was written
        raise WholewordError(
            f"{output}: holds something that is not a build of shards; name another --output"
        )
    found, wanted = read_plan(output), json.loads(json.dumps(identity))
    manifest = output / FILE
    additions = len(wanted.get("appended", []))
    if found == wanted:  # of an addition that was not finished, the manifest does not speak yet
        return manifest.exists() and (not additions or _generations(output) > additions)
    if manifest.exists() and {**found, "appended": []} == {**wanted, "appended": []}:
        if not additions:
            return True  # and more was added since
        if not any((output / STATE).glob("task-*.json")):
            return False
        raise WholewordError(
            f"{output}: other inputs are being added here ({_last_input(found)} ...); first run "
            "that command again until it is done"
        )
    if _holds_work(output) or _foreign_files(output):
        raise _refusal(output, found, wanted)
    return manifest.exists()


def _is_there(output: Path) -> bool:
    # (pathlib's raises where a name is too long)
    return output.exists() if is_remote(output) else os.path.lexists(output)


def _generations(output: Path) -> int:
    return len(read_manifest(output).generations)


def _last_input(plan: dict[str, Any]) -> str:
    return str(all_inputs(plan)[-1]["path"])


def _refusal(output: Path, found: dict[str, Any], wanted: dict[str, Any]) -> WholewordError:
    remedy = "name another --output, or rebuild it with --overwrite"
    before, now = all_inputs(found), all_inputs(wanted)
    more = len(before) < len(now) and all(file in now for file in before)
    if more and (output / FILE).exists():
        remedy = f"to add the new files to it, use --append; else {remedy}"
    return WholewordError(
        f"{output}: holds another build ({'; '.join(differences(found, wanted))}); {remedy}"
    )


def read_plan(output: Path) -> dict[str, Any]:
    """How the build in a folder was planned (`identity`)."""
    path = output / STATE / "plan.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except AddressError:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise WholewordError(f"{path}: cannot be read ({error}); use --overwrite") from error


def _holds_work(output: Path) -> bool:
    """Whether any task has finished: a build that failed before that has nothing to lose."""
    return (output / FILE).exists() or any((output / STATE).glob("task-*.json"))


def remove_build(output: Path) -> None:
    """Remove what a build wrote, and nothing else (`--overwrite`).

    Raises:
        WholewordError: the folder holds anything that no build writes.
    """
    if not _is_there(output) or not output.is_dir():
        return
    foreign = _foreign_files(output)
    if foreign or (any(output.iterdir()) and not (output / STATE).is_dir()):
        what = f" ({min(foreign)})" if foreign else ""
        raise WholewordError(
            f"{output}: holds something that is not a build of shards{what}, which --overwrite "
            "does not remove; name another --output"
        )
    with writing(output), locked(output):
        _remove_files(output)


def _remove_files(output: Path) -> None:
    for name in _DATASET_FILES:
        remove(output / name)
    remove_leftovers(output)
    clear(output, keep=("lock",))  # removing the lock would let two builds in


def remove_leftovers(output: Path, part: Slice = WHOLE) -> None:
    """Remove temporary files of commands that were killed: of a slice, those of its own numbers."""
    if is_remote(output):  # they are on other disks, if anywhere
        return
    for folder in (output, *(output / name for name in PARTS), *_state_folders(output)):
        for leftover in folder.glob(".*.tmp"):
            number = re.match(r"\.(?:[a-z]+-)?(\d{5,})", leftover.name)
            if part.owns(int(number[1])) if number else part.is_whole:
                leftover.unlink(missing_ok=True)


def _state_folders(output: Path) -> list[Path]:
    return [output / STATE, *(p for p in (output / STATE).glob("*") if p.is_dir())]


def _foreign_files(output: Path) -> set[str]:
    """What no build writes, here and among the shards (`cache-*` is the datasets library's)."""
    temporary = re.compile(r"\.(.+?)(\.[0-9a-f]{8})?\.tmp")
    names = {temporary.sub(r"\1", path.name) for path in output.iterdir()}
    foreign = names - {STATE, *_DATASET_FILES}
    shards = re.compile(
        r"(data-\d+-of-\d+\.arrow|index\.arrow|(state|dataset_info)\.json)|cache-.*"
    )
    for part in PARTS:
        if (output / part).is_dir():
            inside = (temporary.sub(r"\1", path.name) for path in (output / part).iterdir())
            foreign |= {f"{part}/{name}" for name in inside if not shards.fullmatch(name)}
    return foreign


def is_planned(output: Path, identity: dict[str, Any]) -> bool:
    """Whether the folder's last command was to build the same."""
    path = output / STATE / "plan.json"
    return path.exists() and read_plan(output) == json.loads(json.dumps(identity))


def write_plan(output: Path, identity: dict[str, Any]) -> None:
    """Record what is being built, so that another build into this folder is refused.

    What a build of another plan left is removed: `is_finished` accepts only one without work. What
    belongs to a dataset that is added to stays.
    """
    path = output / STATE / "plan.json"
    if path.exists() and not is_planned(output, identity) and not identity.get("appended"):
        _remove_files(output)
    write_json(path, identity, shared=True)


def clear(output: Path, keep: tuple[str, ...]) -> None:
    """Remove the state's files and folders except those to keep; another may be doing the same."""
    folder = output / STATE
    if isinstance(folder, Place):
        folder.remove_entries(keep)
        return
    for path in folder.iterdir():
        if path.name not in keep:
            remove(path)
