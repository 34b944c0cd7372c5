import array
import re
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from rosam_core.runtime.image_codec import (
    ENCODINGS,
    ImageDecodeError,
    decode_compressed,
    decode_image,
)

RED, GREEN, BLUE = (200, 10, 20), (30, 180, 40), (50, 60, 220)

# 2x1 picture, red then green, as each encoding writes it by its definition.
PACKED = {
    "rgb8": bytes([200, 10, 20, 30, 180, 40]),
    "bgr8": bytes([20, 10, 200, 40, 180, 30]),
    "8UC3": bytes([20, 10, 200, 40, 180, 30]),
    "rgba8": bytes([200, 10, 20, 7, 30, 180, 40, 9]),
    "bgra8": bytes([20, 10, 200, 7, 40, 180, 30, 9]),
    "8UC4": bytes([20, 10, 200, 7, 40, 180, 30, 9]),
}


@pytest.mark.parametrize("encoding", PACKED)
def test_colour_order(encoding: str) -> None:
    data = PACKED[encoding]
    rgb = decode_image(encoding, 2, 1, len(data), False, data)
    assert rgb.dtype == np.uint8
    assert rgb.tolist() == [[list(RED), list(GREEN)]]


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey(encoding: str) -> None:
    assert decode_image(encoding, 2, 1, 2, False, b"\x05\xfa").tolist() == [[[5] * 3, [250] * 3]]


@pytest.mark.parametrize(("big", "order"), [(False, "<"), (True, ">")])
def test_sixteen_bit_grey_keeps_its_high_byte(big: bool, order: str) -> None:
    data = struct.pack(f"{order}3H", 0x12FF, 0xAB00, 0x00FF)
    rgb = decode_image("mono16", 3, 1, 6, big, data)
    assert rgb[0, :, 0].tolist() == [0x12, 0xAB, 0x00]
    assert (rgb[..., 0] == rgb[..., 2]).all()


# ROS: the first two letters are row 0, the last two row 1.
BAYER = {"rggb": ("RG", "GB"), "bggr": ("BG", "GR"), "gbrg": ("GB", "RG"), "grbg": ("GR", "BG")}


def mosaic(pattern: str, colour: tuple[int, int, int]) -> np.ndarray:
    value = dict(zip("RGB", colour, strict=True))
    cell = [[value[letter] for letter in row] for row in BAYER[pattern]]
    return np.tile(np.array(cell, np.uint8), (4, 6))


@pytest.mark.parametrize("pattern", BAYER)
@pytest.mark.parametrize("colour", [RED, BLUE])
def test_bayer_names_are_those_of_ros(pattern: str, colour: tuple[int, int, int]) -> None:
    # OpenCV's constants of the same letters mean another pattern: red and blue would swap.
    raw = mosaic(pattern, colour)
    rgb = decode_image(f"bayer_{pattern}8", 12, 8, 12, False, raw.tobytes())
    assert rgb.shape == (8, 12, 3)
    assert (rgb[2:-2, 2:-2] == colour).all()


@pytest.mark.parametrize("pattern", BAYER)
@pytest.mark.parametrize("big", [False, True])
def test_sixteen_bit_bayer(pattern: str, big: bool) -> None:
    raw = (mosaic(pattern, RED).astype(np.uint16) << 8 | 0x7F).astype(">u2" if big else "<u2")
    rgb = decode_image(f"bayer_{pattern}16", 12, 8, 24, big, raw.tobytes())
    assert (rgb[2:-2, 2:-2] == RED).all()


def bt601(y: int, u: int, v: int) -> list[float]:
    luma = 1.164 * (y - 16)
    return [
        luma + 1.596 * (v - 128),
        luma - 0.813 * (v - 128) - 0.391 * (u - 128),
        luma + 2.018 * (u - 128),
    ]


@pytest.mark.parametrize(
    ("encoding", "order"),
    [("yuv422", "UYVY"), ("uyvy", "UYVY"), ("yuv422_yuy2", "YUYV"), ("yuyv", "YUYV")],
)
def test_yuv(encoding: str, order: str) -> None:
    first, second, u, v = 90, 150, 100, 160
    luma = iter((first, second))
    data = bytes({"Y": lambda: next(luma), "U": lambda: u, "V": lambda: v}[c]() for c in order)
    rgb = decode_image(encoding, 2, 1, 4, False, data)
    np.testing.assert_allclose(rgb[0, 0], bt601(first, u, v), atol=1)
    np.testing.assert_allclose(rgb[0, 1], bt601(second, u, v), atol=1)


def row_bytes(encoding: str, width: int) -> int:
    sizes = {"rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "8UC4": 4}
    two = encoding.endswith("16") or encoding.startswith(("yuv", "uyvy", "yuyv"))
    return width * sizes.get(encoding, 2 if two else 1)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("padding", [1, 5, 64])
def test_row_padding_is_skipped(encoding: str, padding: int) -> None:
    row = row_bytes(encoding, 14)
    dense = np.random.default_rng(1).integers(0, 256, (6, row), np.uint8)
    padded = np.full((6, row + padding), 255, np.uint8)
    padded[:, :row] = dense
    np.testing.assert_array_equal(
        decode_image(encoding, 14, 6, row + padding, False, padded.tobytes()),
        decode_image(encoding, 14, 6, row, False, dense.tobytes()),
    )


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, np.array, array.array])
def test_any_buffer_is_read(kind: type) -> None:
    data = PACKED["bgr8"]
    if kind is array.array:  # what rclpy hands over
        given: object = array.array("B", data)
    elif kind is np.array:
        given = np.frombuffer(data, np.uint8).reshape(1, 2, 3)
    else:
        given = kind(data)
    assert decode_image("bgr8", 2, 1, 6, False, given).tolist() == [[list(RED), list(GREEN)]]


def test_rgb8_is_a_view() -> None:
    data = np.zeros(6 * 20, np.uint8)
    assert np.shares_memory(decode_image("rgb8", 4, 6, 20, False, data), data)


def test_bytes_behind_the_picture_are_ignored() -> None:
    assert decode_image("mono8", 1, 1, 1, False, b"\x09\xff\xff").tolist() == [[[9, 9, 9]]]


BAD_IMAGES = [
    (("rgb9", 2, 1, 6, b"123456"), "encoding 'rgb9' is not supported: supported are rgb8, bgr8"),
    (("", 2, 1, 6, b"123456"), "encoding '' is not supported"),
    (("32FC1", 2, 1, 8, b"12345678"), "encoding of depth images: subscribe to the colour"),
    (("16UC1", 2, 1, 4, b"1234"), "publish a 16-bit grey camera as mono16"),
    (("rgb8", 0, 1, 6, b"123456"), "rgb8 image has size 0x1; expected positive"),
    (("rgb8", 2, 0, 6, b""), "rgb8 image has size 2x0"),
    (("rgb8", 2, 1, 5, b"123456"), "step of 5 bytes; expected at least 6"),
    (("rgb8", 2, 1, 0, b"123456"), "step of 0 bytes; expected at least 6"),
    (("rgb8", 2, 2, 6, b"12345678901"), "truncated: 11 bytes; expected 12 (step 6 x 2 rows)"),
    (("rgb8", 640, 384, 1920, b""), "truncated: 0 bytes; expected 737280"),
    (("mono16", 4, 2, 4, b"12345678"), "step of 4 bytes; expected at least 8"),
    (("bayer_rggb8", 3, 2, 3, b"123456"), "size 3x2; expected an even width and height"),
    (("bayer_gbrg8", 2, 3, 2, b"123456"), "size 2x3; expected an even width and height"),
    (("yuv422", 3, 1, 6, b"123456"), "size 3x1; expected an even width"),
    (("yuv422_yuy2", 4, 2, 8, b"1234567890"), "truncated: 10 bytes; expected 16"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_IMAGES)
def test_malformed_images(fields: tuple, message: str) -> None:
    encoding, width, height, step, data = fields
    with pytest.raises(ImageDecodeError, match=re.escape(message)) as caught:
        decode_image(encoding, width, height, step, False, data)
    assert "\n" not in str(caught.value)


def smooth_picture() -> np.ndarray:
    rng = np.random.default_rng(5)
    return cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (64, 48))


def encode(extension: str, rgb: np.ndarray, *options: int) -> bytes:
    picture = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR) if rgb.ndim == 3 else rgb
    return cv2.imencode(extension, picture, options)[1].tobytes()


@pytest.mark.parametrize("form", ["jpeg", "jpg", "JPEG", "rgb8; jpeg compressed bgr8"])
def test_jpeg(form: str) -> None:
    rgb = smooth_picture()
    got = decode_compressed(form, encode(".jpg", rgb, cv2.IMWRITE_JPEG_QUALITY, 100))
    assert np.abs(got.astype(int) - rgb).mean() < 2


@pytest.mark.parametrize("form", ["png", "bgr8; png compressed bgr8", "rgb8; png compressed "])
def test_png(form: str) -> None:
    rgb = smooth_picture()
    np.testing.assert_array_equal(decode_compressed(form, encode(".png", rgb)), rgb)


def test_the_stream_decides_and_not_the_name() -> None:
    rgb = smooth_picture()
    np.testing.assert_array_equal(decode_compressed("jpeg", encode(".png", rgb)), rgb)


def test_sixteen_bit_png_keeps_its_high_byte() -> None:
    grey = np.array([[0x12FF, 0xAB00], [0x00FF, 0xFFFF]], np.uint16)
    got = decode_compressed("mono16; png compressed mono16", encode(".png", grey))
    assert got[..., 1].tolist() == [[0x12, 0xAB], [0x00, 0xFF]]
    colour = np.full((2, 2, 3), 0x3456, np.uint16)
    colour[..., 0] = 0x78FF
    assert (decode_compressed("png", encode(".png", colour)) == (0x78, 0x34, 0x34)).all()


def test_transparency_is_dropped() -> None:
    bgra = np.full((2, 2, 4), (20, 10, 200, 0), np.uint8)
    assert (decode_compressed("png", cv2.imencode(".png", bgra)[1].tobytes()) == RED).all()


@pytest.mark.parametrize("pattern", BAYER)
def test_compressed_mosaic_is_demosaiced(pattern: str) -> None:
    raw = mosaic(pattern, BLUE)
    got = decode_compressed(
        f"bayer_{pattern}8; png compressed bayer_{pattern}8", encode(".png", raw)
    )
    assert (got[2:-2, 2:-2] == BLUE).all()
    wide = encode(".png", raw.astype(np.uint16) << 8)
    got = decode_compressed(f"bayer_{pattern}16; png compressed bayer_{pattern}16", wide)
    assert (got[2:-2, 2:-2] == BLUE).all()


def test_demosaiced_before_compression_stays_as_it_is() -> None:
    rgb = smooth_picture()
    form = "bayer_rggb8; png compressed bgr8"
    np.testing.assert_array_equal(decode_compressed(form, encode(".png", rgb)), rgb)


def exif_rotated(jpeg: bytes) -> bytes:
    """Adds an EXIF block that says: turn this picture by 90 degrees."""
    tiff = b"MM\x00*\x00\x00\x00\x08" + struct.pack(">H", 1)
    tiff += struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + b"\x00\x00\x00\x00"
    body = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def test_exif_orientation_does_not_turn_the_picture() -> None:
    turned = exif_rotated(encode(".jpg", smooth_picture()))
    as_a_viewer = cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR)
    assert as_a_viewer.shape == (64, 48, 3)  # the trap is real
    assert decode_compressed("jpeg", turned).shape == (48, 64, 3)


def test_padding_behind_a_jpeg_is_ignored() -> None:
    jpeg = encode(".jpg", smooth_picture())
    np.testing.assert_array_equal(
        decode_compressed("jpeg", jpeg + bytes(500)), decode_compressed("jpeg", jpeg)
    )


def broken_png() -> bytes:
    """A PNG whose header says 64x48 but whose pixels are noise."""
    png = encode(".png", smooth_picture())
    start = png.index(b"IDAT") + 4
    size = struct.unpack(">I", png[start - 8 : start - 4])[0]
    body = bytes(size)
    check = struct.pack(">I", zlib.crc32(b"IDAT" + body))
    return png[:start] + body + check + png[start + size + 4 :]


JPEG, PNG = encode(".jpg", smooth_picture()), encode(".png", smooth_picture())
BAD_STREAMS = [
    ("h264", JPEG, "format 'h264' is not supported: supported are jpeg and png"),
    ("", JPEG, "format '' is not supported"),
    ("16UC1; compressedDepth png", PNG, "is a depth image: subscribe to the colour image"),
    ("jpeg", b"", "('jpeg', 0 bytes) is empty; expected a JPEG or PNG stream"),
    ("jpeg", b"GIF89a\x01\x00", "starts with 47 49 46 38 39 61 01 00; expected"),
    ("jpeg", JPEG[: len(JPEG) // 2], "truncated: JPEG stream of"),
    ("jpeg", JPEG[:-2], "has no end marker"),
    ("jpeg", JPEG[:10], "truncated: JPEG stream of 10 bytes has no end marker"),
    ("png", PNG[:-20], "truncated: PNG stream of"),
    ("png", broken_png(), "does not decode: it is damaged"),
    ("jpeg", b"\xff\xd8\xff\xda\xff\xd9", "does not decode"),
]


@pytest.mark.parametrize(("form", "stream", "message"), BAD_STREAMS)
def test_malformed_streams(form: str, stream: bytes, message: str) -> None:
    with pytest.raises(ImageDecodeError, match=re.escape(message)) as caught:
        decode_compressed(form, stream)
    assert "\n" not in str(caught.value)


def test_agrees_with_cv_bridge() -> None:
    reason = "cv_bridge is part of a ROS install"
    cv_bridge = pytest.importorskip("cv_bridge", reason=reason)
    image_type = pytest.importorskip("sensor_msgs.msg", reason=reason).Image
    rng = np.random.default_rng(2)
    for encoding in ENCODINGS:
        if encoding in ("8UC1", "8UC3", "8UC4", "uyvy", "yuyv"):
            continue  # cv_bridge gives them no colour, or knows them by their older names
        row = row_bytes(encoding, 16)
        raw = rng.integers(0, 256, (12, row), np.uint8)
        message = image_type(
            width=16,
            height=12,
            encoding=encoding,
            step=row,
            data=array.array("B", raw.tobytes()),
            is_bigendian=0,
        )
        theirs = cv_bridge.CvBridge().imgmsg_to_cv2(message, "rgb8")
        ours = decode_image(encoding, 16, 12, row, False, raw.tobytes())
        # 16-bit: cv_bridge scales by 255/65535 and rounds, ours keeps the high byte.
        tolerance = 1 if encoding.endswith("16") else 0
        worst = np.abs(theirs.astype(int) - ours)[2:-2, 2:-2].max()
        assert worst <= tolerance, encoding


def test_the_pillar_box_of_a_real_mosaic_is_red(shared_data: Path) -> None:
    path = sorted((shared_data / "robotcar_raw").rglob("*.png"))[0]
    raw = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    height, width = raw.shape
    rgb = decode_image("bayer_gbrg8", width, height, width, False, raw)
    red, _, blue = rgb[440:470, 803:814].reshape(-1, 3).mean(axis=0)
    assert red > 1.5 * blue
