"""Which options of `python -m train` stand together in its help, and examples of commands."""

_MODEL = ("--model", "--trust-remote-code")
_MASKS = ("--masking", "--mlm-probability", "--seed")

EVALUATE_PANELS = {
    "model": _MODEL,
    "rows": ("--data", "--part", "--batch-size", "--max-rows"),
    "masks": _MASKS,
}
EVALUATE_EXAMPLES = """
python -m train evaluate --model runs/default/final --data shards
python -m train evaluate --model bert-base-chinese --data shards --part test --masking token
"""
PREDICT_PANELS = {
    "model": _MODEL,
    "text": ("--input", "--output", "--max-rows"),
    "words and masks": ("--segmenter", "--user-dict", "--words", "--mlm-probability", "--seed"),
}
PREDICT_EXAMPLES = """
python -m train predict --input lines.txt --output filled.csv --model runs/default/final
python -m train predict --input lines.txt --output filled.csv --words 心肌,血压
"""
PREVIEW_PANELS = {"rows": ("--data", "--rows"), "masks": _MASKS}
PREVIEW_EXAMPLES = "python -m train preview --data shards --rows 3"

_TASK = ("--task", "--text-column", "--label-column", "--pair-column")
COMPARE_PANELS = {
    "task": (*_TASK, "--test", "--seen-in"),
    "models": ("--models", "--tokenizer", "--trust-remote-code"),
    "fine-tuning": ("--labels", "--seeds", "--learning-rates", "--epochs", "--max-length"),
    "output": ("--output", "--reuse", "--json"),
}
COMPARE_EXAMPLES = """
python -m train compare --task reviews.jsonl --models bert-base-chinese runs/domain/best
python -m train compare --task reviews.jsonl --models bert-base-chinese runs/domain/best \\
    --labels 100,1000,all --seeds 5 --output report
"""
ADAPT_PANELS = {
    "task": (*_TASK, "--test", "--transductive"),
    "model and text": ("--model", "--tokenizer", "--text", "--general", "--control"),
    "pretraining": (
        *("--masking", "--passes", "--learning-rate", "--max-length", "--pretraining-seeds"),
    ),
    "fine-tuning": ("--labels", "--seeds"),
    "output": ("--quick", "--output", "--json"),
}
ADAPT_EXAMPLES = """
python -m train adapt --task reviews.jsonl --model bert-base-chinese --output adapted
python -m train adapt --task reviews.jsonl --model bert-base-chinese --text corpus/ --quick
"""
AVERAGE_EXAMPLES = """
python -m train average runs/a/best runs/b/best --output mean
python -m train average after --interpolate before --share 0.5 --output half-way
"""
TRAINING_EXAMPLES = """
deepspeed train/pretrain.py --deepspeed ds_configs/zero2.json
deepspeed train/pretrain.py --deepspeed ds_configs/zero2.json \\
    --data shards --model bert-base-chinese --output-dir runs/domain
deepspeed --quiet --num_gpus 4 train/pretrain.py --deepspeed ds_configs/zero3.json --precision bf16
python train/pretrain.py --max-steps 20
"""
