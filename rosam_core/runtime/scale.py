"""Metric scale: what a network trained at one focal length says about another camera."""

from __future__ import annotations

import math

from rosam_core.types import Camera, ModelCard


def network_focal_px(network_camera: Camera) -> float:
    """Returns the one focal length that stands for a camera at network size [px].

    Args:
        network_camera: Camera of the network's input; a stretch makes fx and fy differ, and
            their geometric mean keeps the area that an object covers.
    """
    return math.sqrt(network_camera.fx * network_camera.fy)


def metric_scale(network_camera: Camera, card: ModelCard) -> float:
    """Returns the factor from network depth to metres: f / f_training.

    An object looks as large at twice the distance through twice the focal length.

    Args:
        network_camera: Camera of the network's input.
        card: The model's card.
    """
    return network_focal_px(network_camera) / card.training_focal_px


def unseen_view(network_camera: Camera, card: ModelCard) -> str | None:
    """Returns why a camera is unlike those of the training, or None.

    Args:
        network_camera: Camera of the network's input.
        card: The model's card.
    """
    low, high = card.focal_range_px
    focal = network_focal_px(network_camera)
    # Letterboxing rounds to whole pixels, and training may have stretched pictures by up to 4 % to
    # a size of multiples of 32: the mean of both directions then differs by 2 %.
    if low * 0.98 <= focal <= high * 1.02:
        return None
    width = network_camera.width

    def view(f: float) -> float:
        return math.degrees(2 * math.atan(width / (2 * f)))

    return (
        f"model {card.name} was trained on focal lengths of {low:.0f} to {high:.0f} px at network "
        f"size (views of {view(high):.0f} to {view(low):.0f} degrees) and this camera has "
        f"{focal:.0f} px ({view(focal):.0f} degrees): trust the depth less; resize:=crop narrows "
        "the view"
    )
