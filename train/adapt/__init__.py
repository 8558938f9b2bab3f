"""From a labelled task to a better model: text, shards, pretraining, comparison, one sentence."""
