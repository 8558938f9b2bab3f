#!/usr/bin/env bash
# From nothing to masks filled in a few minutes on two idle cores: environment, shards of a Chinese novel
# with jieba's words, and an encoder from nothing that reads the New Testament, where two minutes are
# enough to learn more than commas. Run again, it goes on from what is there. Killed, it ends what it started.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
explain 0 "$@"
active=${VIRTUAL_ENV:-} job=
use_environment ""
chinese=runs/quickstart-chinese english=runs/quickstart-english run=runs/quickstart

run() { show "$@"; wait_for "$@"; }
show() { echo "+ $*"; }
wait_for() {  # in a process group of its own, so that nothing of it outlives this script
  set -m; "$@" & job=$!; set +m
  wait "$job"
  job=
}
end() {  # $1: the exit status
  trap '' INT TERM HUP
  [ -z "$job" ] || { kill -s TERM -- "-$job"; wait "$job"; } 2>/dev/null || true
  exit "$1"
}
trap 'end 130' INT
trap 'end 143' TERM HUP

echo; echo "== 1. Shards of a Chinese novel: jieba's words, BERT's tokens, rows of up to 128 tokens"
run python -m preprocess build-shards --max-length 128 --output "$chinese"
run python scripts/show_speed.py

echo; echo "== 2. What training sees: {masked}, {replaced→by}, {predicted but kept=}; other masks in every epoch"
run python -m train preview --data "$chinese" --rows 2

echo; echo "== 3. An encoder from nothing: ModernBERT, 4 layers, 128 wide, on verses in English; two idle cores take two minutes"
run python -m preprocess build-shards --input samples/en --max-length 128 --output "$english"
training=(deepspeed --num_accelerators 1 train/pretrain.py --deepspeed ds_configs/zero2.json
  --data "$english" --output-dir "$run" --model modernbert-tiny --learning-rate 2e-3
  --per-device-train-batch-size 16 --max-steps 1200 --logging-steps 100 --eval-steps 200)
train() {  # what it prints, without the launcher's own lines, goes to a log too, to the end
  trap : INT TERM
  "${training[@]}" 2>&1 | (
    trap '' INT TERM
    grep --line-buffered -v -e '\] \[INFO\]' -e '\] \[WARNING\]' | tee -a "$run.log"
  )
}
show "${training[@]}"
wait_for train

echo; echo "== 4. Verses that it has not seen: words masked and filled in (token frequencies alone would fill in commas)"
run python -m train predict --model "$run/final" --input samples/verses.txt \
  --words kingdom,God,chief,high,Jesus,Ghost --output "$run/filled.csv"

echo; echo "== 5. All of validation"
grep '^validation perplexity' "$run.log" | tail -n 1
echo "curves: $run/curves.png; the model, for transformers' pipeline(\"fill-mask\"): $run/final"
[ -n "$active" ] || [ ! -f .venv/bin/activate ] || echo "next, in this shell:  . .venv/bin/activate"
echo "next, your own text: python -m preprocess build-shards --input YOUR_TEXT --tokenizer bert-base-chinese"
echo "and your own task:   python -m train adapt --task LABELLED.jsonl --model bert-base-chinese --output adapted"
