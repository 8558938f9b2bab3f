"""How a run that fails says so: one line, whatever the number of ranks."""

import contextlib
import sys
import tempfile
import traceback
from pathlib import Path

from preprocess.errors import WholewordError
from train.engine.hub import INTERRUPTED, LOST
from train.engine.peers import Peers
from train.engine.process_group import is_lost_rank, rank_of_process


def report(error: BaseException, peers: Peers, folder: Path | None) -> int:
    """Say what has ended this process, on all ranks; returns the exit status.

    A mistake is one line and 1, Ctrl-C is 130. Anything else is a defect: its traceback goes into
    a log file, whose path is said, and the status is 70, EX_SOFTWARE of sysexits.h.

    Args:
        error: what was raised, which is being handled.
        peers: the other processes of the run.
        folder: the run's, for the log; None, or one that is not there, means a temporary one.
    """
    if isinstance(error, KeyboardInterrupt):
        return peers.fail(INTERRUPTED, 130)
    if isinstance(error, WholewordError):
        return peers.fail(str(error), 1)
    if is_lost_rank(error):
        return peers.fail(LOST, 1)
    last = traceback.format_exc().strip().splitlines()[-1][:200]
    kept = _keep(traceback.format_exc(), folder)
    return peers.fail(f"internal error: {last}; the traceback {kept}", 70)


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
