"""Documents less what nobody wants to train on: too short, too long, filtered out, repeated."""
