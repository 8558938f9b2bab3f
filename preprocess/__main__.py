"""`python -m preprocess`."""

from preprocess.packages import require_packages

if __name__ == "__main__":
    require_packages()

from preprocess.console import run_command


def main() -> None:
    """Run the command line; its imports take seconds, in which Ctrl-C must be one line too."""
    from preprocess.cli import app

    app()


if __name__ == "__main__":
    run_command(main)
