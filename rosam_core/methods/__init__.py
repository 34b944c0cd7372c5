"""Training methods, one readable file a paper."""
