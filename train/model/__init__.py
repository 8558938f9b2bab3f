"""Stock masked-LM models: load, check, prepare for packs, and compute the loss."""
