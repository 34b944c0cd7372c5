"""Depth from one camera: drives, training, evaluation and the runtime. Imports no ROS."""
