"""Projection, warping and rigid transforms."""
