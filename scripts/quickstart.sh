#!/usr/bin/env bash
# From nothing to masks filled in a few minutes on two cores: environment, shards of a Chinese novel with
# jieba's words, and an encoder from nothing that reads the New Testament, where two minutes are enough to
# learn more than commas. Run again, it goes on from what is there.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
use_environment ""
chinese=runs/quickstart-chinese english=runs/quickstart-english run=runs/quickstart

echo; echo "== 1. Shards of a Chinese novel: jieba's words, BERT's tokens, rows of up to 128 tokens"
python -m preprocess build-shards --max-length 128 --output "$chinese"
python scripts/show_speed.py

echo; echo "== 2. What training sees: {masked}, {replaced→by}, {predicted but kept=}; other masks in every epoch"
python -m train preview --data "$chinese" --rows 2

echo; echo "== 3. An encoder from nothing: ModernBERT, 4 layers, 128 wide, on verses in English"
python -m preprocess build-shards --input samples/en --max-length 128 --output "$english"
deepspeed --num_accelerators 1 train/pretrain.py --deepspeed ds_configs/zero2.json \
  --data "$english" --output-dir "$run" --model modernbert-tiny --learning-rate 2e-3 \
  --per-device-train-batch-size 16 --max-steps 1200 --logging-steps 100 --eval-steps 200 \
  2>&1 | grep --line-buffered -v -e '\] \[INFO\]' -e '\] \[WARNING\]' | tee -a "$run.log"

echo; echo "== 4. Verses that it has not seen: words masked and filled in (token frequencies alone would fill in commas)"
python -m train predict --model "$run/final" --input samples/verses.txt \
  --words kingdom,God,chief,high,Jesus,Ghost --output "$run/filled.csv"

echo; echo "== 5. All of validation"
grep '^validation perplexity' "$run.log" | tail -n 1
echo "curves: $run/curves.png; the model, for transformers' pipeline(\"fill-mask\"): $run/final"
echo "next, your own text: python -m preprocess build-shards --input YOUR_TEXT --tokenizer bert-base-chinese"
echo "and your own task:   python -m train adapt --task LABELLED.jsonl --model bert-base-chinese --output adapted"
