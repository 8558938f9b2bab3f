"""The commands that the documentation shows, and what is known of each.

A command is a line of an indented or fenced block that begins with one of `PROGRAMS`; lines that
end in a backslash go on. `scripts/doc_commands.txt` says of each what becomes of it, and
`check_docs.py` runs those that can be run.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "docs/*.md")
RULES = ROOT / "scripts" / "doc_commands.txt"
KINDS = ("run", "test", "needs")
PROGRAMS = (
    *("python", "python3", "deepspeed", "bash", "make", "pip", "wholeword", "torchrun", "srun"),
    *(
        "sbatch",
        "mpirun",
        "salloc",
        "ray",
        "git",
        "cd",
        "export",
        "pre-commit",
        "curl",
        "aws",
        "ssh",
    ),
)
_ASSIGNMENT = re.compile(r"^[A-Z_][A-Z0-9_]*=")


@dataclass(frozen=True)
class Command:
    """A command as a page shows it."""

    page: str
    line: int
    text: str
    """On one line, without comments."""


@dataclass(frozen=True)
class Rule:
    """What becomes of the commands that a pattern names."""

    kind: str
    """`run`, `test` (the suite runs it) or `needs` (it cannot be run here)."""
    pattern: str
    """The command, perhaps with the wildcards of `fnmatch`."""
    rest: str
    """Arguments to add for `run`, the test's file for `test`, the reason for `needs`."""

    def fits(self, command: Command) -> bool:
        """Whether this rule is about a command."""
        return fnmatchcase(command.text, self.pattern)


def commands(root: Path = ROOT) -> list[Command]:
    """Every command of every page, in order."""
    pages = [path for pattern in PAGES for path in sorted(root.glob(pattern))]
    found = []
    for path in pages:
        name = path.relative_to(root).as_posix()
        text = path.read_text(encoding="utf-8")
        found += [Command(name, line, command) for line, command in commands_of(text)]
    return found


def commands_of(text: str) -> Iterator[tuple[int, str]]:
    """The line number and the text of every command of a page."""
    began, command = 0, ""
    for number, line in _code_lines(text):
        line = line.strip()
        if not command:
            began = number
        command = f"{command} {_uncommented(line)}".strip()
        if command.endswith("\\"):
            command = command[:-1].strip()
            continue
        if is_command(command):
            yield began, " ".join(command.removeprefix("$ ").split())
        command = ""


def is_command(line: str) -> bool:
    """Whether a line of code is for a shell."""
    words = line.removeprefix("$ ").split()
    while words and _ASSIGNMENT.match(words[0]):
        words = words[1:]
    return bool(words) and words[0] in PROGRAMS


def rules(path: Path = RULES) -> list[Rule]:
    """The rules, in order; the first that fits a command is its.

    Raises:
        ValueError: a line is no rule.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        kind, _, rest = line.partition(" ")
        pattern, _, rest = rest.partition(" ::")
        if kind not in KINDS or not pattern.strip() or (kind != "run" and not rest.strip()):
            raise ValueError(f"{path.name}:{number}: not a rule: KIND PATTERN :: WHAT")
        found.append(Rule(kind, pattern.strip(), rest.strip()))
    return found


def rule_for(command: Command, known: list[Rule]) -> Rule | None:
    """The first rule that fits."""
    return next((rule for rule in known if rule.fits(command)), None)


def _code_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines of fenced blocks, and those that four spaces indent."""
    fenced = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield number, line


def _uncommented(line: str) -> str:
    """A line without its comment, which stands behind a space and outside of quotes."""
    for comment in re.finditer(r"(?:^|\s)#\s", line):
        try:
            shlex.split(line[: comment.start()])
        except ValueError:  # it stands in quotes
            continue
        return line[: comment.start()]
    return line
