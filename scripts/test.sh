#!/usr/bin/env bash
# Lint, types and the whole test suite, in an environment that it makes. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
use_environment "[dev]"
ruff check .
ruff format --check .
mypy
python -m pytest "$@"
