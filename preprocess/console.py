"""How commands report: one line for what the user can mend, a log file for defects."""

import contextlib
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from preprocess.bundled import as_called
from preprocess.errors import WholewordError

EXIT_ERROR = 1
EXIT_DEFECT = 70
"""EX_SOFTWARE of sysexits.h."""
EXIT_INTERRUPTED = 130

console = Console(highlight=False, soft_wrap=True, emoji=False)
"""Standard output; lines are left whole, so that commands in them can be copied."""
_errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def run_command(command: Callable[[], None]) -> None:
    """Run a command and exit; only a `WholewordError` and the parser's own errors become one line.

    Anything else is a defect: its traceback goes to a log file, whose path is on the line, and the
    exit status is 70.
    """
    try:
        command()
    except WholewordError as error:
        fail(str(error))
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        _end_interrupted()
    except SystemExit as end:
        if end.code == EXIT_INTERRUPTED:  # the parser turns Ctrl-C into this, and says nothing
            _end_interrupted()
        raise
    except BrokenPipeError:
        sys.exit(EXIT_ERROR)
    except Exception:
        fail(f"this is a defect of wholeword, please report it with {log_defect()}")
        sys.exit(EXIT_DEFECT)


def _end_interrupted() -> NoReturn:
    """Report it and exit at once: a normal exit would unload kernels that a thread still runs."""
    fail("interrupted; what is finished is kept, and the same command continues from there")
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(EXIT_INTERRUPTED)


def fail(message: str) -> None:
    """Print one line on standard error."""
    line = as_called(" ".join(message.split()))
    _errors.print(f"[bold red]error:[/] {_escape(line)}")


def warn(message: str) -> None:
    """Print one line on standard error about something that may not be intended."""
    _errors.print(f"[bold yellow]warning:[/] {_escape(as_called(' '.join(message.split())))}")


def log_defect() -> Path:
    """Write the current exception's traceback to a new file."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="wholeword-", suffix=".log", delete=False, encoding="utf-8"
    ) as log:
        log.write(traceback.format_exc())
    return Path(log.name)


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
