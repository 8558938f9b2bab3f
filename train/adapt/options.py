"""What an adaptation is asked for."""

from dataclasses import dataclass, field
from pathlib import Path

from train.evaluate.task_file import Columns

MASKINGS = {"words": "wwm", "tokens": "token"}
"""Names of what is pretrained, and its `--masking`."""


@dataclass(frozen=True)
class AdaptOptions:
    """The options of `python -m train adapt`."""

    task: Path
    model: str
    """A folder or hub id to continue from, or a preset to begin from nothing."""
    output: Path
    test: Path | None = None
    """A test file, instead of a share of the task file."""
    text: tuple[str, ...] = ()
    """More of the domain: files, globs or folders, as build-shards takes them."""
    general: tuple[str, ...] = ()
    """Text whose ability is to be kept: one token of it beside four of the domain."""
    control: tuple[str, ...] = ()
    """Text of another domain, on which one more model takes the same steps."""
    maskings: tuple[str, ...] = tuple(MASKINGS)
    """Keys of `MASKINGS`."""
    labels: tuple[str, ...] = ("100", "1000")
    seeds: int = 5
    """Fine-tunings of each model."""
    pretraining_seeds: int = 1
    tokenizer: str | None = None
    """Of a preset; else one is trained."""
    passes: float | None = None
    """Over the domain's text; None: by the rule."""
    learning_rate: float | None = None
    """Of pretraining; None: by the rule."""
    max_length: int = 128
    columns: Columns = field(default_factory=Columns)
    transductive: bool = False
    """Whether the test part's texts are pretrained on, without their labels."""
    quick: bool = False
