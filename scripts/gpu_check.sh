#!/usr/bin/env bash
# What the test suite cannot hold without a GPU: the tests marked `gpu`, BERT-base at 512 tokens, and
# the Hugging Face Trainer beside it, in less than nine minutes. Prints tables; --json FILE keeps the
# numbers. Without a GPU it says so and succeeds: there is nothing to check. WHOLEWORD_NO_INSTALL=1
# takes the Python environment as it is, without a network.
set -euo pipefail
cd "$(dirname "$0")/.."
for argument in "$@"; do
  [ "$argument" != --dry-run ] || dry_run=1
done
if [ -z "${dry_run:-}" ] && ! { command -v nvidia-smi >/dev/null && nvidia-smi --list-gpus 2>/dev/null | grep -q GPU; }; then
  echo "gpu_check: no GPU here, so nothing was checked"
  exit 0
fi
. scripts/environment.sh
use_environment "[dev]"
python scripts/gpu_check.py "$@"
