"""Shards to masked micro-batches."""
