"""Stage two of Wholeword: masked-language-model pretraining from shards, under DeepSpeed."""
