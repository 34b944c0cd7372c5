"""numpy and OpenCV only: everything between an image and a published depth map."""
