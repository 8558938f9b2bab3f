"""DeepSpeed: configuration, ranks, optimizer, checkpoints; all that touches its internals."""
