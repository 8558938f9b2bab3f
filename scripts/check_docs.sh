#!/usr/bin/env bash
# Run every command of README.md and docs/ that can be run here, in a copy, with small files and budgets.
# Arguments go to check_docs.py: --page docs/data.md, or --list.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
use_environment "[dev]"
python scripts/check_docs.py "$@"
