"""Documents to ids, words and sentences: the tokenizer, the segmenter, and the encoders."""
