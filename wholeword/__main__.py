"""The command `wholeword`: every command of both packages under one name."""

import importlib
import os
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from wholeword import ROOT, use

SHARDS, TRAINING, MODELS = "text to shards", "training", "models"
COMMANDS = {
    "build-shards": (SHARDS, "preprocess", "Text to shards: words, tokens, rows."),
    "train-vocab": (SHARDS, "preprocess", "A WordPiece vocabulary of your own."),
    "verify": (SHARDS, "preprocess", "Every shard against the manifest."),
    "describe": (SHARDS, "preprocess", "What a dataset holds, and what looks wrong."),
    "preview-words": (SHARDS, "preprocess", "How a sentence is cut into words and tokens."),
    "train": (TRAINING, "", "Pretrain on shards, on every GPU of this machine, else on its CPU."),
    "preview-rows": (TRAINING, "train", "Rows as training sees them, with their masks."),
    "evaluate": (MODELS, "train", "Loss, perplexity and accuracy on any shards."),
    "predict": (MODELS, "train", "Mask the lines of a text, and fill them in."),
    "compare": (MODELS, "train", "Fine-tune models on your task: which is better, how sure."),
    "adapt": (
        MODELS,
        "train",
        "From labelled text to a better model, or to the word that none is.",
    ),
    "average": (MODELS, "train", "The mean of models or checkpoints."),
    "where": (MODELS, "", "The folder of the program and of ds_configs/, for launchers."),
}
"""Panel of the help, package, and what it does; both `preview-...` are `preview` in a package."""
_RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")


def main() -> None:
    """Run the command line."""
    use()
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # for --segmenter and --filter of the user's own
    from preprocess.packages import require_packages

    require_packages()
    from preprocess.console import run_command

    run_command(lambda: _run(sys.argv[1:]))


def _run(words: list[str]) -> None:
    from preprocess.console import fail

    name, rest = (words[0].replace("_", "-"), words[1:]) if words else ("", [])
    if name in ("", "-h", "--help"):
        _show_commands()
        sys.exit(0 if name else 2)
    if name == "--version":
        from importlib.metadata import version

        print(f"wholeword {version('wholeword')}")
    elif name == "where":
        print(ROOT)
    elif name == "train":
        _train(rest)
    elif name in COMMANDS:
        _run_in_package(name, rest)
    else:
        near = get_close_matches(name, COMMANDS, 2)
        hint = f"did you mean {' or '.join(near)}?" if near else "see wholeword --help"
        fail(f"{words[0]}: no such command; {hint}")
        sys.exit(2)


def _show_commands() -> None:
    from preprocess.help_page import COMMAND, Entry, show_help

    entries = [
        Entry((name,), COMMAND, "", text, panel) for name, (panel, _, text) in COMMANDS.items()
    ]
    examples = """
    wholeword build-shards --input corpus/ --tokenizer bert-base-chinese --output shards
    wholeword train --data shards --model bert-base-chinese --output-dir runs/domain
    wholeword compare --task reviews.jsonl --models bert-base-chinese runs/domain/best
    """
    show_help("wholeword COMMAND [OPTIONS]", "Fast masked language models.", entries, examples)


def _run_in_package(name: str, words: list[str]) -> None:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # see train/pretrain.py
    import typer

    package = importlib.import_module(f"{COMMANDS[name][1]}.cli")
    group: Any = typer.main.get_command(package.app)
    own = "preview" if name.startswith("preview-") else name
    group.commands[own].main(args=words, prog_name=f"wholeword {name}")


def _train(words: list[str]) -> None:
    """Train in this process; where there are several GPUs, and no launcher yet, in one for each."""
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from train.options import parse

    parse(words)  # before torch is imported, which takes seconds
    if not any(name in os.environ for name in _RANKS):
        import torch

        if torch.cuda.device_count() > 1:
            script = str(ROOT / "train" / "pretrain.py")
            launcher = [
                sys.executable,
                "-m",
                "deepspeed.launcher.runner",
                "--quiet",
                script,
                *words,
            ]
            os.execv(sys.executable, launcher)
    from train import pretrain

    sys.exit(pretrain.main(words))


if __name__ == "__main__":
    main()
