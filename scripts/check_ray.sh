#!/usr/bin/env bash
# The tests that need Ray, which scripts/test.sh does not install. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
use_environment "[dev,ray]"
python -m pytest -m ray -o faulthandler_timeout=600 tests/preprocess/run/test_ray_engine.py "$@"
