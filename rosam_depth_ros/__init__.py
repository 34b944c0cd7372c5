"""The ROS 2 shell: messages in, messages out."""
