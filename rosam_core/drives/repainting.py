"""Objects in other colours, shades and textures than the renderer gave them."""

from __future__ import annotations

import cv2
import numpy as np

from rosam_core.types import UInt8, UInt16

SMALLEST_PX = 12
"""Objects of fewer pixels stay as they are."""


def repaint_objects(
    image: UInt8, instances: UInt16, share: float, rng: np.random.Generator
) -> UInt8:
    """Returns the picture with some of its objects painted over.

    A network that has seen every object in any paint must find it by its outline, by where it
    stands on the ground and by what it hides: that carries over to real pictures, the look of a
    renderer's cars does not (domain randomisation, Tobin et al., IROS 2017, one object at a time).

    Args:
        image: uint8[H,W,3].
        instances: uint16[H,W], object ids, 0 = none.
        share: Probability of an object to be painted over, in [0, 1].
        rng: Source of randomness.
    """
    ids, counts = np.unique(instances, return_counts=True)
    chosen = [
        number
        for number, count in zip(ids.tolist(), counts.tolist(), strict=True)
        if number and count >= SMALLEST_PX and rng.random() < share
    ]
    if not chosen:
        return image
    painted = image.copy()
    for number in chosen:
        mask = instances == number
        x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
        box = (slice(y, y + h), slice(x, x + w))
        coat = _coat(image, image[box], rng)
        inside = mask[box]
        painted[box][inside] = coat[inside]
    return painted


def _coat(image: UInt8, box: UInt8, rng: np.random.Generator) -> UInt8:
    """Returns uint8, shape of `box`: the object in another paint, its own shading shining through.

    One of: another tint; a ramp between two colours, as a glossy body mirrors sky and road; a
    piece of the picture from elsewhere. Colours keep to the light of the scene.
    """
    h, w = box.shape[:2]
    kind = rng.random()
    if kind < 0.35:
        gain = np.exp(rng.normal(0, 0.5) + rng.normal(0, 0.25, size=3))
        table = np.clip(np.arange(256)[:, None] * gain, 0, 255).astype(np.uint8)
        return cv2.LUT(box, table[None])
    bright = max(float(box.max()), 24.0)
    if kind < 0.75:
        ends = rng.uniform(0, bright, size=(2, 1, 1)) * np.exp(rng.normal(0, 0.35, size=(2, 1, 3)))
        across = rng.random() < 0.25
        ramp = np.linspace(0, 1, w if across else h)[:, None] ** rng.uniform(0.4, 2.5)
        colours = (ends[0] * (1 - ramp) + ends[1] * ramp).astype(np.float32)
        other = np.broadcast_to(colours[None] if across else colours[:, None], (h, w, 3))
    else:
        height, width = image.shape[:2]
        top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
        other = image[top : top + h, left : left + w].astype(np.float32)
        other = other * (bright / max(float(other.max()), 1.0))
    weight = np.float32(rng.uniform(0.35, 0.95))
    mixed = box * (1 - weight) + other * weight
    return np.clip(mixed, 0, 255).astype(np.uint8)
