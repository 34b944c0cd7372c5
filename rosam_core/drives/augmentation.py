"""Random views and random looks of a frame, for training."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rosam_core.types import Camera, Float32, UInt8


@dataclasses.dataclass(frozen=True)
class AugmentationOptions:
    """How far the augmentation goes. Probabilities are per sample; ranges are inclusive."""

    flip: float = 0.5  # mirrored left to right
    crop: tuple[float, float] = (0.5, 1.0)  # width of the window, relative to the image
    full_view: float = 0.3  # the whole image, letterboxed as the runtime does
    wide: float = 0.1  # a band of it, up to `wide_aspect` times as wide as high, letterboxed too
    wide_aspect: float = 3.5
    aspect: float = 0.06  # fx and fy differ by up to this fraction
    rotate: float = 0.25  # camera roll, up to `rotate_deg`
    rotate_deg: float = 4.0
    mix: float = 0.15  # part of the picture from another condition of the same frame
    paste: float = 0.0  # objects of another frame put into it, most of them nearer
    repaint: float = 0.3  # some of its objects in other paint
    repaint_share: float = 0.5  # of the objects of such a picture
    tone: float = 0.9  # brightness, contrast and gamma, channel by channel
    colour: float = 0.6  # saturation and hue
    gray: float = 0.08
    blur: float = 0.25  # defocus or linear motion
    noise: float = 0.4  # up to `noise_max` of full range
    noise_max: float = 0.08
    jpeg: float = 0.3
    blotches: float = 0.3  # patches of flat colour, noise or blur: dirt, drops, glare


VIEW = ("flip", "crop", "full_view", "wide", "wide_aspect", "aspect", "rotate", "rotate_deg")
"""The options that `random_view` reads."""

OBJECTS = ("mix", "paste", "repaint", "repaint_share")
"""Those that need the other conditions, or the objects, of a rendered frame."""


def random_view(
    image: UInt8,
    depth: Float32,
    camera: Camera,
    size: tuple[int, int],
    options: AugmentationOptions,
    rng: np.random.Generator,
) -> tuple[UInt8, Float32, float]:
    """Returns a random crop of a frame at network size, and the focal length it then has.

    Args:
        image: uint8[H,W,3], RGB.
        depth: float32[H,W] [m].
        camera: Intrinsics of both.
        size: Network width and height [px].
        options: Ranges.
        rng: Source of randomness.

    Returns:
        image: uint8[height,width,3]; what lies outside the frame is black.
        depth: float32[height,width]; what lies outside the frame is NaN.
        focal: sqrt(fx fy) of the view [px].
    """
    width, height = size
    if rng.random() < options.rotate:
        image, depth = _rotated(image, depth, camera, rng.uniform(-1, 1) * options.rotate_deg)
    shape = rng.random()
    if shape < options.wide:
        image, depth, camera = _band(image, depth, camera, options.wide_aspect, rng)
    if shape < options.wide + options.full_view:
        scale = min(width / camera.width, height / camera.height)
        window_w, window_h = width / scale, height / scale
    else:
        window_w = camera.width * rng.uniform(*options.crop)
        window_h = window_w * height / width * np.exp(rng.uniform(-1, 1) * options.aspect)
    left = rng.uniform(*sorted((0.0, camera.width - window_w)))
    top = rng.uniform(*sorted((0.0, camera.height - window_h)))
    window = (round(left), round(top), max(round(window_w), 8), max(round(window_h), 8))
    shrinks = cv2.INTER_AREA if rng.random() < 0.5 else cv2.INTER_LINEAR
    image, depth, focal = view(image, depth, camera, window, size, shrinks)
    if rng.random() < options.flip:
        image, depth = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(depth[:, ::-1])
    return image, depth, focal


def letterbox_view(
    image: UInt8, depth: Float32, camera: Camera, size: tuple[int, int]
) -> tuple[UInt8, Float32, float]:
    """Returns the whole frame at network size, centred between black bars, as the runtime does.

    Args and returns are those of `random_view`.
    """
    width, height = size
    scale = min(width / camera.width, height / camera.height)
    window_w, window_h = round(width / scale), round(height / scale)
    left, top = (camera.width - window_w) // 2, (camera.height - window_h) // 2
    window = (left, top, window_w, window_h)
    return view(image, depth, camera, window, size, cv2.INTER_AREA)


def view(
    image: UInt8,
    depth: Float32,
    camera: Camera,
    window: tuple[int, int, int, int],
    size: tuple[int, int],
    interpolation: int,
) -> tuple[UInt8, Float32, float]:
    """Returns a window (left, top, width, height) of a frame, resized; see `random_view`."""
    _, _, w, h = window
    focal = float(np.sqrt(camera.fx * size[0] / w * camera.fy * size[1] / h))
    image = cut(image, window, size, interpolation)
    # Not INTER_NEAREST, which looks at the corner of a pixel and so shifts depth against the image
    # by half a pixel, right and down: 5 % of the depth of the road at 20 m in 160x96.
    depth = cut(depth, window, size, cv2.INTER_NEAREST_EXACT, outside=float("nan"))
    return image, depth, focal


def cut(
    values: npt.NDArray[Any],
    window: tuple[int, int, int, int],
    size: tuple[int, int],
    interpolation: int,
    outside: float = 0.0,
) -> npt.NDArray[Any]:
    """Returns a window of a picture or map, resized.

    Args:
        values: [H,W] or [H,W,3].
        window: Left, top, width and height [px]; it may reach beyond the picture.
        size: Width and height to make it [px].
        interpolation: OpenCV's.
        outside: Value of what is not in the picture.
    """
    left, top, w, h = window
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + w, values.shape[1]), min(top + h, values.shape[0])
    pads = (y0 - top, top + h - y1, x0 - left, left + w - x1)
    values = values[y0:y1, x0:x1]
    if any(pads):
        border = (outside,) * 3 if values.ndim == 3 else outside
        values = cv2.copyMakeBorder(values, *pads, cv2.BORDER_CONSTANT, value=border)
    return cv2.resize(values, size, interpolation=interpolation)


def _rotated(
    image: UInt8, depth: Float32, camera: Camera, degrees: float
) -> tuple[UInt8, Float32]:
    """Turns a frame about its optical axis, which leaves every depth as it is."""
    matrix = cv2.getRotationMatrix2D((camera.cx, camera.cy), degrees, 1.0)
    shape = (camera.width, camera.height)
    image = cv2.warpAffine(image, matrix, shape, flags=cv2.INTER_LINEAR)
    depth = cv2.warpAffine(depth, matrix, shape, flags=cv2.INTER_NEAREST, borderValue=float("nan"))
    return image, depth


def _band(
    image: UInt8, depth: Float32, camera: Camera, widest: float, rng: np.random.Generator
) -> tuple[UInt8, Float32, Camera]:
    """Cuts rows off a frame, as if from a camera of a wider format."""
    aspect = rng.uniform(camera.width / camera.height, widest)
    height = min(max(round(camera.width / aspect), 8), camera.height)
    top = int(rng.integers(0, camera.height - height + 1))
    rows = slice(top, top + height)
    return image[rows], depth[rows], dataclasses.replace(camera, cy=camera.cy - top, height=height)


def mix_conditions(first: UInt8, second: UInt8, rng: np.random.Generator) -> UInt8:
    """Returns a blend of two pictures of one scene: even, or across a random soft line.

    Args:
        first: uint8[H,W,3].
        second: uint8[H,W,3].
        rng: Source of randomness.
    """
    if rng.random() < 0.5:
        share = rng.uniform(0.2, 0.8)
        return cv2.addWeighted(first, share, second, 1 - share, 0)
    h, w = first.shape[:2]
    angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.3)
    x = np.linspace(-0.5, 0.5, w, dtype=np.float32)[None]
    y = np.linspace(-0.5, 0.5, h, dtype=np.float32)[:, None]
    along = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y - np.float32(offset)
    weight = np.clip(along / np.float32(rng.uniform(0.02, 0.5)) + 0.5, 0, 1)
    return cv2.blendLinear(first, second, weight, 1 - weight)


def random_look(image: UInt8, options: AugmentationOptions, rng: np.random.Generator) -> UInt8:
    """Returns the picture as another camera in another light might have taken it.

    Args:
        image: uint8[h,w,3], RGB.
        options: Probabilities and ranges.
        rng: Source of randomness.
    """
    if rng.random() < options.blotches:
        image = _blotches(image, rng)
    if rng.random() < options.blur:
        image = _blurred(image, rng)
    if rng.random() < options.colour:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        shift, gain = rng.uniform(-12, 12), rng.uniform(0.2, 1.6)
        levels = np.arange(256)
        hue = ((levels + shift) % 180).astype(np.uint8)
        saturation = np.clip(levels * gain, 0, 255).astype(np.uint8)
        table = np.stack([hue, saturation, levels.astype(np.uint8)], axis=-1)[None]
        image = cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2RGB)
    if rng.random() < options.gray:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < options.tone:
        image = cv2.LUT(image, _tone_table(float(image.mean()) / 255, rng))
    if rng.random() < options.noise:
        sigma = rng.uniform(0, options.noise_max) * 255
        grain = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(sigma)
        if rng.random() < 0.3:  # luminance noise only
            grain[:] = grain[..., :1]
        image = cv2.add(image, grain, dtype=cv2.CV_8U)
    if rng.random() < options.jpeg:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 80))]
        image = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)
    return image


def _tone_table(level: float, rng: np.random.Generator) -> UInt8:
    """Returns uint8[1,256,3]: gamma, contrast, brightness and white balance as one look-up.

    Contrast turns about the mean `level` of the picture, so that a night does not become black.
    """
    x = np.linspace(0, 1, 256)[:, None]
    gamma = np.exp(rng.uniform(-0.6, 0.6))
    contrast, brightness = np.exp(rng.uniform(-0.5, 0.5)), rng.uniform(-0.3, 0.3) * level
    white = np.exp(rng.normal(0, 0.08, size=(1, 3)))
    pivot = level**gamma
    y = (x**gamma * white - pivot) * contrast + pivot + brightness
    return np.clip(y * 255, 0, 255).astype(np.uint8)[None]


def _blurred(image: UInt8, rng: np.random.Generator) -> UInt8:
    if rng.random() < 0.6:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.8))
    length = int(rng.integers(3, 10))
    kernel = np.zeros((length, length), np.float32)
    angle, middle = rng.uniform(0, np.pi), (length - 1) / 2
    for t in np.linspace(-middle, middle, 2 * length):
        row, column = middle + t * np.sin(angle), middle + t * np.cos(angle)
        kernel[round(row), round(column)] += 1
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def _blotches(image: UInt8, rng: np.random.Generator) -> UInt8:
    image = image.copy()
    h, w = image.shape[:2]
    soft = cv2.GaussianBlur(image, (0, 0), 5)
    for _ in range(int(rng.integers(1, 5))):
        mask = np.zeros((h, w), np.float32)
        centre = (int(rng.integers(w)), int(rng.integers(h)))
        axes = (int(rng.integers(2, w // 8)), int(rng.integers(2, h // 6)))
        cv2.ellipse(mask, centre, axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
        mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 4)) * np.float32(
            rng.uniform(0.4, 1)
        )
        other = soft
        if rng.random() < 0.6:
            other = np.empty_like(image)
            other[:] = rng.integers(0, 256, size=3, dtype=np.uint8)
        image = cv2.blendLinear(other, image, mask, 1 - mask)
    return image
