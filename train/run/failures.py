"""How a run that fails says so: one line, once, whatever the number of ranks."""

import contextlib
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from preprocess.bundled import as_called
from train.engine.process_group import rank_of_process

_FIRST_WORD = 15.0  # seconds that other ranks leave rank 0 to report an error that all of them have


def report_error(line: str) -> int:
    """Print one line on standard error, once, whatever the number of ranks; returns 1.

    When all ranks fail alike, rank 0 speaks and the launcher ends the others while they wait.
    A rank that is still there after that failed alone, and speaks.
    """
    if rank_of_process() != 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # training only takes note of it
        time.sleep(_FIRST_WORD)
    print(as_called(line), file=sys.stderr, flush=True)
    return 1


def report_lost_rank(error: Exception) -> int:
    """Say that another rank is gone, and leave it time to say why; returns 1."""
    cause = next(iter(str(error).splitlines()), type(error).__name__)[:200]
    line = (
        f"error: the connection to another rank is lost ({cause}); it says why itself, or it was "
        "killed, perhaps because memory ran out; run the same command again, it continues from "
        "the last checkpoint"
    )
    status = report_error(line)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(2 * _FIRST_WORD)  # this rank's end would be the other's; the launcher ends both
    return status


def report_defect(folder: Path | None) -> int:
    """Write the current exception to a log file and its path on standard error; returns 70.

    70 is EX_SOFTWARE of sysexits.h. The log is in the run's folder, or else in a temporary one.
    """
    text = traceback.format_exc()
    last = text.strip().splitlines()[-1][:200]
    report_error(f"internal error: {last}; the traceback {_keep(text, folder)}")
    return 70


def _keep(text: str, folder: Path | None) -> str:
    """Write a traceback where there is room for it; where that is, in words."""
    name = f"error-rank{rank_of_process()}.log"
    if folder is not None and folder.is_dir():
        with contextlib.suppress(OSError):
            (folder / name).write_text(text, encoding="utf-8")
            return f"is in {folder / name}"
    try:
        path = Path(tempfile.mkdtemp(prefix="wholeword-")) / name
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        print(text, file=sys.stderr)
        return f"cannot be written ({error.strerror}), and stands above"
    return f"is in {path}"
