#!/usr/bin/env bash
# From nothing to filled-in masks in a few minutes on two cores: environment, shards of a Chinese novel,
# 600 steps of pretraining, three masked lines filled, a curve. Run again, it goes on from what is there.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
use_environment ""
data=runs/quickstart-shards run=runs/quickstart

echo; echo "== 1. Shards: words and tokens of samples/zh, in rows of up to 128 tokens"
python -m preprocess build-shards --max-length 128 --output "$data"

echo; echo "== 2. Pretrain a BERT of 4 layers, 256 wide, with whole-word masks"
deepspeed --num_accelerators 1 train/pretrain.py --deepspeed ds_configs/zero2.json \
  --data "$data" --output-dir "$run" --model bert-mini --config-overrides hidden_dropout_prob=0 \
  --per-device-train-batch-size 8 --learning-rate 1e-3 --max-steps 600 --logging-steps 50 \
  2>&1 | grep --line-buffered -v -e '\] \[INFO\]' -e '\] \[WARNING\]' | tee -a "$run.log"

echo; echo "== 3. Lines that it has not seen, masked and filled"
python -m train predict --model "$run/final" --input samples/three_lines.txt --output "$run/filled.csv"

echo; echo "== 4. What it has learned, on validation text"
grep '^validation perplexity' "$run.log" | tail -n 1
echo "the curve is in $run/curves.png, the model in $run/final"
