"""Synthetic drives: world, renderer and weather."""
