"""A drive: an ordered, indexable sequence of frames, whatever it was recorded with."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Iterator

from rosam_core.types import Camera, Float64, Frame, UInt8


@dataclasses.dataclass(frozen=True)
class Glance:
    """What is known of a frame without reading its image; see `Frame`.

    Attributes:
        stamp_ns: Time of exposure [ns].
        camera: Intrinsics.
        T_world_camera: float64[4,4], camera to world, or None.
        condition: One of `CONDITIONS`.
        camera_name: Name of the camera in its drive.
        has_lidar: The frame comes with lidar points.
        has_depth: The frame comes with exact depth.
        has_empty_scan: Its lidar scan is there and holds no point.
    """

    stamp_ns: int
    camera: Camera
    T_world_camera: Float64 | None = None
    condition: str = "unknown"
    camera_name: str = "camera"
    has_lidar: bool = False
    has_depth: bool = False
    has_empty_scan: bool = False


def height_above_zero(
    T_world_camera: Float64 | None, lowest_m: float = 0.0, highest_m: float = math.inf
) -> float | None:
    """Returns the z of a camera [m], None if there is no pose or it is not between the limits."""
    if T_world_camera is None or not lowest_m < T_world_camera[2, 3] < highest_m:
        return None
    return float(T_world_camera[2, 3])


class Drive(abc.ABC):
    """An ordered sequence of frames, cheap to index and safe to read from several processes."""

    name: str
    truth_note: str = ""
    """How true depth is made, where the data set has it in more than one way."""

    depth_is_lidar: bool = False
    """`Frame.depth` shows lidar points, of which some may be hidden from the camera."""

    only_depth_is_truth: bool = False
    """A frame without `Frame.depth` has no truth, though it has lidar: others of the recording are
    scored against depth that is another truth than lidar, and one figure holds but one."""

    missing: tuple[str, ...] = ()
    """Images that the recording lists between others that are there, and that are not there."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Returns the number of frames."""

    @abc.abstractmethod
    def __getitem__(self, index: int) -> Frame:
        """Reads one frame; raises IndexError outside `0 <= index < len`."""

    @property
    def world_frame(self) -> str | None:
        """The frame that poses are in, where the recording names it."""
        return None

    def glance(self, index: int) -> Glance:
        """Returns what is known of a frame; drives that need not read its image override this."""
        frame = self[index]
        return Glance(
            stamp_ns=frame.stamp_ns,
            camera=frame.camera,
            T_world_camera=frame.T_world_camera,
            condition=frame.condition,
            camera_name=frame.camera_name,
            has_lidar=frame.lidar is not None,
            has_depth=frame.depth is not None,
        )

    def image(self, index: int) -> UInt8:
        """Reads the image of a frame alone, uint8[H,W,3] RGB; drives override what else is slow.

        Raises:
            IndexError: Outside the drive.
            ValueError: It is damaged.
        """
        return self[index].image

    def camera_height(self, index: int) -> float | None:
        """Returns how high the camera of a frame is above the ground [m], None if not known.

        Drives in whose world the ground is known to be near z = 0 override this.
        """
        return None

    def whole(self) -> tuple[Drive, list[int]]:
        """Returns the recording that the frames were picked from, and their places in it.

        A drive that lists some frames of a recording overrides this: their neighbours in time are
        in the recording.
        """
        return self, list(range(len(self)))

    def stated_neighbours(self, index: int) -> tuple[int, int] | None:
        """Returns which frames of the recording go before and after a frame, where that is listed.

        Args:
            index: Frame of this drive.

        Returns:
            Places in the recording of `whole`, -1 = it is not there; None where nothing is listed.
        """
        return None

    def scene(self, index: int) -> str:
        """Returns the recording that a frame belongs to: figures of one scene go together."""
        return self.name

    def __iter__(self) -> Iterator[Frame]:
        """Reads every frame in order."""
        for index in range(len(self)):
            yield self[index]
