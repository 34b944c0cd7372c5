"""Object priors: region maps from Segment-Anything masks, superpixels or synthetic instances."""
