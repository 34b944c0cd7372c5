"""Losses: pure functions that return unreduced maps."""
