"""Inference engines behind one interface; none of them imports torch."""
