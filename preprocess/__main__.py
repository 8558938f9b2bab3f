"""`python -m preprocess`."""

from preprocess.cli import app
from preprocess.console import run_command

if __name__ == "__main__":
    run_command(lambda: app(standalone_mode=True))
