"""What comes with the program: the samples and DeepSpeed's files, found from any folder."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds preprocess/, train/, ds_configs/ and samples/."""
INSTALLED = ROOT.name == "inside"
"""Whether this is a wheel, where commands are called `wholeword COMMAND`."""
_NAMES = (
    (r"python -m preprocess preview\b", "wholeword preview-words"),
    (r"python -m train preview\b", "wholeword preview-rows"),
    (r"python -m (?:preprocess|train) ", "wholeword "),
    (r"(?:deepspeed(?: --quiet)?(?: --num_\w+ \d+)?|python) train/pretrain\.py", "wholeword train"),
    (r"(?<!/)\btrain/pretrain\.py", "wholeword train"),
)


def bundled(name: str) -> str:
    """A name as it is; or, where nothing is called so, the sample of that name."""
    if name.startswith("samples/") and not Path(name).exists() and (ROOT / name).exists():
        return str(ROOT / name)
    return name


def as_called(text: str, installed: bool = INSTALLED) -> str:
    """A message with its commands spelt as they are called here."""
    if installed:
        for pattern, name in _NAMES:
            text = re.sub(pattern, name, text)
    return text
