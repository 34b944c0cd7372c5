"""From the bytes of ROS Image and CompressedImage messages to uint8[H,W,3] RGB, without ROS."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np

from rosam_core.types import UInt8

Buffer = Any  # bytes, bytearray, memoryview, array.array or uint8 ndarray


class ImageDecodeError(ValueError):
    """A message that is not the image it says it is; the text says what was found."""


@dataclasses.dataclass(frozen=True)
class _Layout:
    """How an encoding lies in memory.

    Attributes:
        channels: Samples a pixel.
        sample_bytes: 1, or 2 of which the high one is kept.
        code: OpenCV conversion to RGB, None if it is RGB already.
        even: Pixels come in pairs (`"width"`) or in 2x2 cells (`"both"`).
    """

    channels: int
    sample_bytes: int = 1
    code: int | None = None
    even: str = ""


# OpenCV names a Bayer pattern by the second and third pixel of the second row, ROS by the first
# two rows: ROS's `rggb` is OpenCV's `BG`. Every OpenCV 4 has these names; the later aliases
# (COLOR_BayerRGGB2RGB) would leave out Ubuntu's older builds.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}
_UYVY = _Layout(2, code=cv2.COLOR_YUV2RGB_UYVY, even="width")
_YUYV = _Layout(2, code=cv2.COLOR_YUV2RGB_YUY2, even="width")
_LAYOUTS = {
    "rgb8": _Layout(3),
    "bgr8": _Layout(3, code=cv2.COLOR_BGR2RGB),
    "rgba8": _Layout(4, code=cv2.COLOR_RGBA2RGB),
    "bgra8": _Layout(4, code=cv2.COLOR_BGRA2RGB),
    "mono8": _Layout(1, code=cv2.COLOR_GRAY2RGB),
    "mono16": _Layout(1, 2, code=cv2.COLOR_GRAY2RGB),
    **{f"bayer_{p}8": _Layout(1, code=c, even="both") for p, c in _BAYER.items()},
    **{f"bayer_{p}16": _Layout(1, 2, code=c, even="both") for p, c in _BAYER.items()},
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    # What OpenCV programs publish without naming a colour order; OpenCV's own order is meant, as
    # RViz also reads them.
    "8UC1": _Layout(1, code=cv2.COLOR_GRAY2RGB),
    "8UC3": _Layout(3, code=cv2.COLOR_BGR2RGB),
    "8UC4": _Layout(4, code=cv2.COLOR_BGRA2RGB),
}
ENCODINGS = tuple(_LAYOUTS)
"""The `encoding` strings that `decode_image` reads."""

_NOT_PICTURES = {
    "16UC1": "it is the encoding of depth images: subscribe to the colour image, or publish a "
    "16-bit grey camera as mono16",
    "32FC1": "it is the encoding of depth images: subscribe to the colour image",
}


def decode_image(
    encoding: str, width: int, height: int, step: int, is_bigendian: bool, data: Buffer
) -> UInt8:
    """Returns the picture of a `sensor_msgs/Image` as RGB.

    `rgb8` costs nothing: the result is a read-only view of `data`. Sixteen-bit samples keep their
    high byte (`>> 8`), so a camera that puts 12 bits into the low end comes out dark. YUV is
    ITU-R BT.601, as ROS and OpenCV take it.

    Args:
        encoding: One of `ENCODINGS`.
        width: Columns.
        height: Rows.
        step: Bytes a row, padding included.
        is_bigendian: Byte order of 16-bit samples.
        data: The bytes, at least `step * height`.

    Returns:
        uint8[H,W,3], RGB; possibly a view of `data`, and then not to be written to.

    Raises:
        ImageDecodeError: Unknown encoding, a size that does not fit it, or too few bytes.
    """
    layout = _LAYOUTS.get(encoding)
    if layout is None:
        hint = _NOT_PICTURES.get(encoding, f"supported are {', '.join(ENCODINGS)}")
        raise ImageDecodeError(f"image encoding {encoding!r} is not supported: {hint}")
    if width <= 0 or height <= 0:
        raise ImageDecodeError(f"{encoding} image has size {width}x{height}; expected positive")
    odd = (width % 2 and layout.even) or (height % 2 and layout.even == "both")
    if odd:
        raise ImageDecodeError(
            f"{encoding} image has size {width}x{height}; expected an even "
            f"{'width' if layout.even == 'width' else 'width and height'}"
        )
    row = width * layout.channels * layout.sample_bytes
    if step < row:
        raise ImageDecodeError(
            f"{encoding} image {width}x{height} has a step of {step} bytes; expected at least "
            f"{row}"
        )
    raw = _bytes_of(data)
    if raw.size < step * height:
        raise ImageDecodeError(
            f"{encoding} image {width}x{height} is truncated: {raw.size} bytes; expected "
            f"{step * height} (step {step} x {height} rows)"
        )
    rows = raw[: step * height].reshape(height, step)[:, :row]
    if layout.sample_bytes == 2:
        # The high byte alone, read where it lies: no byte swap and no shift.
        rows = rows[:, 0 if is_bigendian else 1 :: 2]
    pixels = rows.reshape(height, width, layout.channels) if layout.channels > 1 else rows
    if layout.code is None:
        return pixels
    rgb: UInt8 = cv2.cvtColor(pixels, layout.code)  # type: ignore[assignment]
    return rgb


def decode_message(message: Any) -> UInt8:
    """Returns the pixels of an Image or CompressedImage message, uint8[H,W,3] RGB.

    Args:
        message: Of rclpy or of rosbags: only its fields count.

    Raises:
        ImageDecodeError: The picture is damaged or of an unknown encoding.
    """
    if hasattr(message, "format"):
        return decode_compressed(message.format, message.data)
    return decode_image(
        message.encoding,
        message.width,
        message.height,
        message.step,
        bool(message.is_bigendian),
        message.data,
    )


def decode_compressed(format: str, data: Buffer) -> UInt8:
    """Returns the picture of a `sensor_msgs/CompressedImage` as RGB.

    The `format` may be bare (`jpeg`, `png`) or image_transport's (`rgb8; jpeg compressed bgr8`).
    The stream's own first bytes decide what it is. A Bayer mosaic that was compressed as it is
    (`bayer_rggb8; png compressed ...`, one channel) is demosaiced. EXIF orientation is ignored,
    because the camera model belongs to the stored pixels.

    Args:
        format: The message's `format`.
        data: The JPEG or PNG stream.

    Returns:
        uint8[H,W,3], RGB; 16-bit PNG samples keep their high byte, transparency is dropped.

    Raises:
        ImageDecodeError: Not JPEG or PNG, or damaged.
    """
    words = format.lower()
    if "compresseddepth" in words.replace("_", ""):
        raise ImageDecodeError(
            f"compressed format {format!r} is a depth image: subscribe to the colour image"
        )
    if not any(kind in words for kind in ("jpeg", "jpg", "png")):
        raise ImageDecodeError(
            f"compressed format {format!r} is not supported: supported are jpeg and png "
            "(image_transport's republish turns others into raw images)"
        )
    raw = _bytes_of(data)
    _check_stream(format, raw)
    original = format.split(";")[0].strip().lower()
    mosaic = _BAYER.get(original[6:10]) if original.startswith("bayer_") else None
    try:
        if mosaic is not None:
            image = cv2.imdecode(raw, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
        else:
            image = cv2.imdecode(raw, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageDecodeError(
            f"compressed image ({format!r}, {raw.size} bytes) does not decode: {error.err}"
        ) from error
    if image is None:
        raise ImageDecodeError(
            f"compressed image ({format!r}, {raw.size} bytes) does not decode: it is damaged"
        )
    if image.dtype == np.uint16:
        image = np.right_shift(image.view(np.uint16), 8).astype(np.uint8)
    code = mosaic if mosaic is not None and image.ndim == 2 else cv2.COLOR_BGR2RGB
    rgb: UInt8 = cv2.cvtColor(image, code)  # type: ignore[assignment]
    return rgb


def _bytes_of(data: Buffer) -> UInt8:
    """Returns a flat uint8 view of any buffer, copying nothing."""
    if isinstance(data, np.ndarray):
        return data.reshape(-1).view(np.uint8)
    return np.frombuffer(data, np.uint8)


def _check_stream(format: str, stream: UInt8) -> None:
    """Refuses what is not a whole JPEG or PNG; decoders paint a truncated JPEG grey instead."""
    size = stream.size
    head = stream[:8].tobytes()
    if head.startswith(b"\xff\xd8\xff"):
        kind = "JPEG"
        whole = stream[-2:].tobytes() == b"\xff\xd9"
        if not whole:  # padding that a driver left behind the picture, or a cut stream
            content = stream.tobytes()
            whole = content.rfind(b"\xff\xd9") > content.rfind(b"\xff\xda") >= 0
    elif head == b"\x89PNG\r\n\x1a\n":
        kind = "PNG"
        whole = b"IEND" in stream[-12:].tobytes() or b"IEND" in stream.tobytes()
    else:
        found = f"starts with {head.hex(' ')}" if size else "is empty"
        raise ImageDecodeError(
            f"compressed image ({format!r}, {size} bytes) {found}; expected a JPEG or PNG stream"
        )
    if not whole:
        raise ImageDecodeError(
            f"compressed image ({format!r}) is truncated: {kind} stream of {size} bytes has no "
            "end marker"
        )
