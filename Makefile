# Every target runs in the active virtual environment, or in .venv, which scripts/environment.sh makes.
SHELL := /bin/bash
IN_ENVIRONMENT := . scripts/environment.sh && use_environment "[dev]" &&

.PHONY: test lint format docs quickstart bench clean

test: ; bash scripts/test.sh $(ARGS)
lint: ; $(IN_ENVIRONMENT) ruff check . && ruff format --check . && mypy && python scripts/make_options.py --check
format: ; $(IN_ENVIRONMENT) ruff check --fix . && ruff format .
docs: ; $(IN_ENVIRONMENT) python scripts/make_options.py
quickstart: ; bash scripts/quickstart.sh
bench: ; $(IN_ENVIRONMENT) for what in masking loader preprocess; do python scripts/benchmark_$$what.py || exit; done
clean: ; rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis; find . -name .venv -prune -o -type d -name __pycache__ -exec rm -rf {} +
