"""Between the camera's image and the network's: resize, with the camera model kept true."""

from __future__ import annotations

import dataclasses

import cv2

from rosam_core.types import Camera, Float32, UInt8

RESIZE_MODES = ("letterbox", "stretch", "crop")
"""`letterbox` keeps all of the picture and its aspect, `stretch` keeps all of it and fills the
network, `crop` keeps the aspect and fills the network with the middle of the picture."""

# Black, because that is what the students have seen outside the picture in training.
PADDING = 0  # of each channel: filling with one number is a lot faster than with three


@dataclasses.dataclass(frozen=True)
class Window:
    """A rectangle of whole pixels.

    Attributes:
        left: First column.
        top: First row.
        width: Columns.
        height: Rows.
    """

    left: int
    top: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in an array[H,W,...]."""
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )


@dataclasses.dataclass(frozen=True)
class Resize:
    """How one image size reaches the network's size and how maps come back.

    Attributes:
        source: The part of the image that the network sees.
        target: The part of the network's input that this part fills; the rest is padding.
        width: Image width [px].
        height: Image height [px].
        network_width: Network input width [px].
        network_height: Network input height [px].
    """

    source: Window
    target: Window
    width: int
    height: int
    network_width: int
    network_height: int

    @classmethod
    def plan(
        cls, mode: str, width: int, height: int, network_width: int, network_height: int
    ) -> Resize:
        """Returns the resize of one image size.

        Args:
            mode: One of `RESIZE_MODES`.
            width: Image width [px], > 0.
            height: Image height [px], > 0.
            network_width: Network input width [px], > 0.
            network_height: Network input height [px], > 0.

        Raises:
            ValueError: Unknown mode, or a size that is not positive.
        """
        if mode not in RESIZE_MODES:
            raise ValueError(f"unknown resize {mode!r}: choose one of {', '.join(RESIZE_MODES)}")
        if min(width, height, network_width, network_height) <= 0:
            raise ValueError(
                f"resize needs positive sizes, got {width}x{height} to "
                f"{network_width}x{network_height}"
            )
        source = Window(0, 0, width, height)
        target = Window(0, 0, network_width, network_height)
        across, down = network_width / width, network_height / height
        if mode == "letterbox":
            target = _centred(width, height, min(across, down), network_width, network_height)
        elif mode == "crop":
            scale = 1 / max(across, down)
            source = _centred(network_width, network_height, scale, width, height)
        return cls(source, target, width, height, network_width, network_height)

    def camera(self, camera: Camera) -> Camera:
        """Returns the camera of the network's input, true to the pixel.

        Args:
            camera: Intrinsics of the image.

        Raises:
            ValueError: The camera is of another image size.
        """
        if (camera.width, camera.height) != (self.width, self.height):
            raise ValueError(
                f"camera is {camera.width}x{camera.height}, image is {self.width}x{self.height}: "
                "give the camera_info of this very image"
            )
        s, t = self.source, self.target
        seen = camera.cropped(s.left, s.top, s.width, s.height).scaled_to(t.width, t.height)
        return seen.cropped(-t.left, -t.top, self.network_width, self.network_height)

    def apply(self, image: UInt8, out: UInt8) -> None:
        """Writes the network's input.

        Args:
            image: uint8[H,W,3], of this resize's image size.
            out: uint8[network H,network W,3], C-contiguous; wholly overwritten.
        """
        t = self.target
        if (t.width, t.height) != (self.network_width, self.network_height):
            out[: t.top] = PADDING
            out[t.top + t.height :] = PADDING
            out[:, : t.left] = PADDING
            out[:, t.left + t.width :] = PADDING
        seen = image[self.source.slices]
        # Halving exactly is OpenCV's fast area path; area at any other factor costs many times as
        # much. So what can be halved is, and what is then still far from its size goes bilinearly,
        # by a factor below 2, to twice, four times ... that size, to be halved from there. Stripes
        # of single pixels alias in part, those of two hardly.
        while (
            seen.shape[1] >= 2 * t.width
            and seen.shape[0] >= 2 * t.height
            and seen.shape[0] % 2 == 0
            and seen.shape[1] % 2 == 0
        ):
            half = (seen.shape[1] // 2, seen.shape[0] // 2)
            seen = cv2.resize(seen, half, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        across, down = _halvings(seen.shape[1], t.width), _halvings(seen.shape[0], t.height)
        if across or down:
            size = (t.width << across, t.height << down)
            seen = cv2.resize(seen, size, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
        for _ in range(max(across, down)):
            half = (max(seen.shape[1] // 2, t.width), max(seen.shape[0] // 2, t.height))
            seen = cv2.resize(seen, half, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        if seen.shape[:2] == (t.height, t.width):
            out[t.slices] = seen
            return
        cv2.resize(seen, (t.width, t.height), dst=out[t.slices], interpolation=cv2.INTER_LINEAR)

    def restore(self, values: Float32, fill: float, out: Float32) -> Float32:
        """Writes a network-size map at image size, bilinear, with `fill` where nothing was seen.

        Args:
            values: float32[network H,network W].
            fill: Value outside the source window.
            out: float32[H,W], C-contiguous; wholly overwritten.

        Returns:
            `out`.
        """
        s = self.source
        if (s.width, s.height) != (self.width, self.height):
            out.fill(fill)
        seen = values[self.target.slices]
        if seen.shape == (s.height, s.width):
            out[s.slices] = seen
        else:
            cv2.resize(
                seen, (s.width, s.height), dst=out[s.slices], interpolation=cv2.INTER_LINEAR
            )
        return out

    def blank_padding(self, values: Float32, fill: float, out: Float32) -> Float32:
        """Writes a network-size map with `fill` in the padding.

        Args:
            values: float32[network H,network W].
            fill: Value for the padding.
            out: float32[network H,network W]; wholly overwritten.

        Returns:
            `out`.
        """
        out.fill(fill)
        out[self.target.slices] = values[self.target.slices]
        return out


def _halvings(size: int, target: int) -> int:
    """Returns how often a length can be halved without becoming less than the target."""
    return max((size // target).bit_length() - 1, 0)


def _centred(width: int, height: int, scale: float, outer_width: int, outer_height: int) -> Window:
    """Returns the window of `width` x `height` times `scale` in the middle of another size."""
    w = min(max(round(width * scale), 1), outer_width)
    h = min(max(round(height * scale), 1), outer_height)
    return Window((outer_width - w) // 2, (outer_height - h) // 2, w, h)
