#!/usr/bin/env bash
# From nothing to filled-in masks in about six minutes on two cores: environment, shards of a Chinese
# novel, a few hundred steps of pretraining, three masked lines filled, a curve. Run again, it goes on
# from what is there.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
use_environment ""

echo; echo "== 1. shards: words and tokens of samples/zh, rows of up to 128 tokens"
python -m preprocess build-shards --max-length 128 --output runs/quickstart-shards

echo; echo "== 2. pretrain a BERT of 4 layers, 256 wide, with whole-word masks"
deepspeed --num_accelerators 1 train/pretrain.py --deepspeed ds_configs/zero2.json \
  --data runs/quickstart-shards --output-dir runs/quickstart --model bert-mini \
  --per-device-train-batch-size 16 --learning-rate 1e-3 --max-steps 400

echo; echo "== 3. fill in masks"
python -m train predict --model runs/quickstart/final --input samples/zh/quickstart.txt
