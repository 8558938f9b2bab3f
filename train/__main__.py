"""`python -m train`: look at what training sees and at what a model has learned."""

import os

from preprocess.packages import require_packages

if __name__ == "__main__":
    require_packages()

from preprocess.console import run_command


def main() -> None:
    """Run the command line; its imports take seconds, in which Ctrl-C must be one line too."""
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # see pretrain.py
    from train.cli import app

    app()


if __name__ == "__main__":
    run_command(main)
