"""What a build reports while it runs."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pass:
    """The beginning of a walk over the input."""

    name: str
    bytes: int
    """What it will read."""


@dataclass(frozen=True)
class TaskProgress:
    """Work done since the last event."""

    bytes: int
    tokens: int
    audit: dict[str, int] = field(default_factory=dict)
    """Documents that the audit compared or skipped; not in the report, for it must not shape the
    output."""
    earlier: bool = False
    """Whether an earlier command did it."""


@dataclass(frozen=True)
class SliceDone:
    """The end of a slice that is not the last to end."""

    tasks: int
    """Of the whole build."""
    missing: tuple[int, ...]
    """Numbers of those that other slices have still to do."""
