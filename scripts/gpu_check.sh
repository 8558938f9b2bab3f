#!/usr/bin/env bash
# What the test suite cannot hold without a GPU: packed attention there in fp16 and bf16, BERT-base at
# 512 tokens, and the Hugging Face Trainer beside it. Prints tables; --json FILE keeps the numbers.
# Without a GPU it says so and succeeds: there is nothing to check.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v nvidia-smi >/dev/null || ! nvidia-smi --list-gpus 2>/dev/null | grep -q GPU; then
  echo "gpu_check: no GPU here, so nothing was checked"
  exit 0
fi
. scripts/environment.sh
use_environment "[dev]"
exec python scripts/gpu_check.py "$@"
