"""Several commands, on as many machines, that build one dataset: each does its own numbers.

No lock is needed. One plan is agreed on by whoever creates a file first; every other file has one
content, whoever writes it, and appears under its name whole. So any slice may be killed, repeated,
or run twice, and whoever finds every report finishes the dataset, even if another does so too.
"""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocess.errors import WholewordError
from preprocess.files import create, write_bytes, write_json
from preprocess.options import Slice
from preprocess.run.differences import differences
from preprocess.run.events import Pass, TaskProgress
from preprocess.run.state import STATE, is_planned, read_plan

POLL_SECONDS = 1.0


def claim_plan(output: Path, identity: dict[str, Any], base: dict[str, Any] | None) -> None:
    """Agree with the other slices on what is built: the first one's plan, which it writes down.

    Args:
        output: the dataset's folder.
        identity: what this command is to build.
        base: how the dataset was built that is added to, if one is.

    Raises:
        WholewordError: another slice, or an earlier command, has other options or inputs.
    """
    folder = output / STATE
    plan, claim = folder / "plan.json", folder / f"slices-{len(identity.get('appended', []))}.json"
    if plan.exists() and not is_planned(output, identity) and read_plan(output) != base:
        raise _refusal(output, read_plan(output), identity)
    if not create(claim, json.dumps(identity).encode()):
        found = json.loads(claim.read_text(encoding="utf-8"))
        if found != json.loads(json.dumps(identity)):
            raise _refusal(output, found, identity)
    write_json(plan, identity, shared=True)


def _refusal(output: Path, found: dict[str, Any], wanted: dict[str, Any]) -> WholewordError:
    remedy = "give every slice the same"
    if wanted.get("appended"):
        remedy += ", or finish that addition first, with its own command"
    else:
        remedy += ", or name another --output"
    return WholewordError(
        f"{output}: the slices of another build write here "
        f"({'; '.join(differences(found, wanted))}); {remedy}"
    )


def announce(output: Path, part: Slice) -> None:
    """Leave a mark that this slice has begun, for `describe`."""
    for mark in (output / STATE).glob("slice-*-of-*"):
        if begun_slice(mark).count != part.count:  # their number changed since
            mark.unlink(missing_ok=True)
    own = f"slice-{part.index}-of-{part.count}"
    write_bytes(output / STATE / own, b"", shared=True)


def begun_slice(mark: Path) -> Slice:
    """The slice that left a mark."""
    index, count = map(int, re.findall(r"\d+", mark.name))
    return Slice(index, count)


@dataclass(frozen=True)
class Share:
    """Which slice a command is, and how long it waits for the others."""

    part: Slice
    minutes: float

    def wait(
        self, what: str, files: list[Path], numbers: list[int]
    ) -> Iterator[Pass | TaskProgress]:
        """Wait until all files are there, which other slices make; yields progress.

        Args:
            what: they are doing, in words.
            files: what they write when they are done, in one folder.
            numbers: of each file, which say whose it is.

        Raises:
            WholewordError: they made no progress for so many minutes.
        """
        left = dict(zip(files, numbers, strict=True))
        since, named = time.monotonic(), ""
        while True:
            # One listing: to ask for each of thousands of files would keep a server busy.
            there = {path.name for path in files[0].parent.iterdir()} if files else set()
            now = {path: number for path, number in left.items() if path.name not in there}
            done, left = len(left) - len(now), now
            if not left:
                return
            others = slices_of(list(left.values()), self.part)
            if others != named:
                yield Pass(f"waiting for {others}: {what}", len(left))
                since, named = time.monotonic(), others
            elif done:
                yield TaskProgress(done, 0)
                since = time.monotonic()
            elif time.monotonic() - since >= 60 * self.minutes:
                raise WholewordError(self._gives_up(others, what))
            time.sleep(POLL_SECONDS if self.minutes else 0)

    def _gives_up(self, others: str, what: str) -> str:
        nothing = f"; nothing came for {self.minutes:g} minutes" if self.minutes else ""
        return (
            f"--slice {self.part}: needs what {others} find, before it goes on: {what}{nothing}; "
            "run them, and then this command again (what is finished is kept)"
        )


def slices_of(numbers: list[int], part: Slice) -> str:
    """The slices that own some numbers, in words."""
    owners = sorted({number % part.count for number in numbers})
    named = ", ".join(f"{owner}/{part.count}" for owner in owners[:5])
    more = f" and {len(owners) - 5} more" if len(owners) > 5 else ""
    return f"{'slice' if len(owners) == 1 else 'slices'} {named}{more}"
