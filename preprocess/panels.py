"""Which options of `python -m preprocess` stand together in its help, and examples of commands."""

BUILD_PANELS = {
    "text": (
        *("--input", "--text-field", "--field-separator", "--encoding", "--document-separator"),
        "--strict",
    ),
    "words and tokens": ("--tokenizer", "--segmenter", "--user-dict", "--hmm", "--encoder"),
    "rows": ("--max-length", "--pairs"),
    "validation and test": ("--validation-fraction", "--validation-input", "--test-input"),
    "cleaning": ("--dedup", "--near-dedup", "--min-chars", "--max-chars", "--filter"),
    "output": ("--output", "--append", "--overwrite", "--json"),
    "work": ("--workers", "--split-size", "--audit"),
    "many machines": ("--slice", "--slice-wait", "--engine", "--ray-address"),
}
"""Of build-shards."""

BUILD_EXAMPLES = """
python -m preprocess build-shards
python -m preprocess build-shards --input corpus/ --tokenizer bert-base-chinese --output shards
python -m preprocess build-shards -i "news/*.jsonl" --text-field body --max-length 128
python -m preprocess build-shards -i more/ --output shards --append
python -m preprocess build-shards -i /disk/corpus -o /disk/shards --slice 0/4
"""
VERIFY_EXAMPLES = "python -m preprocess verify shards"
DESCRIBE_EXAMPLES = """
python -m preprocess describe shards
python -m preprocess describe shards --dropped
"""
PREVIEW_EXAMPLES = 'python -m preprocess preview --text "天下大势，分久必合。"'
VOCABULARY_EXAMPLES = """
python -m preprocess train-vocab --input corpus/ --vocab-size 21128 --output my-tokenizer
"""
