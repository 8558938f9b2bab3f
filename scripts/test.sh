#!/usr/bin/env bash
# Lint, types and the whole test suite, in an environment that it makes. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
use_environment "[dev]"
ruff check .
ruff format --check .
mypy
# A file is one worker's: what its tests share is made once. Tests wait for their runs to end and for
# ranks to meet, so one worker more than there are processors: a quarter less time on two.
python -m pytest --numprocesses "$(($(nproc) + 1))" --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
