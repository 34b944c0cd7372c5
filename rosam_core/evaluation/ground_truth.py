"""What a frame is scored against: exact depth where it has it, else its lidar in the image.

Three modes. `protocol` is what published tables are made with: every point that falls into the
image, the nearest of a pixel, by each data set's own rules. `general` does the same to the points
of every kind of drive by one rule (`sparse_depth`), so that a drive scores alike in any form.
`filtered` is that without the points that the camera cannot see because the lidar looks past what
stands in its way (`geometry.occlusion`). Drives move their points to the image's time themselves
(`geometry.motion`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from rosam_core.drives.base import Drive
from rosam_core.drives.image_files import read_depth_image
from rosam_core.drives.synthetic.drive import decode_depth, encode_depth
from rosam_core.evaluation.ego_vehicle import VehicleBox, check_mask, inside_box, vehicle_pixels
from rosam_core.evaluation.scoring import frame_truth
from rosam_core.geometry.occlusion import OcclusionOptions, hidden_points
from rosam_core.geometry.projection import points_in_view, sparse_depth
from rosam_core.runtime.pointcloud import pixel_rays, unproject
from rosam_core.types import Camera, Float32, Frame
from rosam_core.whole_file import write_whole

log = logging.getLogger(__name__)

MODES = ("protocol", "general", "filtered")
CACHE_FORMAT = 1  # counts up when the same settings make other depth


@dataclasses.dataclass(frozen=True)
class TruthOptions:
    """How lidar becomes true depth.

    Attributes:
        mode: One of `MODES`.
        rounding: How points become pixels, see `sparse_depth`.
        occlusion: When a point is hidden, in `filtered` mode.
        vehicle: Points in this box and the pixels around them are the vehicle's own; None if none
            are.
    """

    mode: str = MODES[0]
    rounding: str = "nearest"
    occlusion: OcclusionOptions = dataclasses.field(default_factory=OcclusionOptions)
    vehicle: VehicleBox | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"ground truth is one of {', '.join(MODES)}, not {self.mode!r}")


class GroundTruth:
    """Makes the true depth of frames, and keeps it in a folder if there is one."""

    def __init__(
        self,
        options: TruthOptions | None = None,
        cache: Path | None = None,
        ego_mask: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Takes the settings.

        Args:
            options: How lidar becomes depth.
            cache: Folder for the depth made of lidar: 16-bit PNG, metres x 256, 0 = none. With it
                depth is rounded to 1/256 m, whether it was there or is new; without it, it is not.
            ego_mask: bool[H,W], where the image shows the vehicle itself, which has no truth.
        """
        self.options = options or TruthOptions()
        self.cache = cache
        self.ego_mask = ego_mask
        self._has_made_any = False

    @property
    def note(self) -> str:
        """What differs from the published protocol, in words; empty if nothing does.

        What is done to lidar is told once any truth was made of lidar: depth that is exact, or
        was stored, has neither hidden points nor a vehicle's returns taken out.
        """
        said = {
            "general": "lidar of every kind of drive alike",
            "filtered": "lidar without hidden points",
        }.get(self.options.mode, "")
        masked = self.ego_mask is not None
        if self._has_made_any:
            masked |= self.options.vehicle is not None
        else:
            said = ""
        return ", ".join(filter(None, (said, "without the vehicle itself" if masked else "")))

    def of(self, frame: Frame, drive: Drive | None = None) -> Float32 | None:
        """Returns the true depth of a frame.

        Args:
            frame: Of any drive.
            drive: The drive it is of, which says whether its depth is lidar.

        Returns:
            float32[H,W] [m], NaN = unknown, +Inf = beyond; None if it has neither depth nor lidar,
            or lidar alone in a drive where only depth is truth.

        Raises:
            ValueError: The mask is of another size than the image.
        """
        if drive is not None and drive.only_depth_is_truth and frame.depth is None:
            return None
        from_lidar = frame.depth is None or (drive is not None and drive.depth_is_lidar)
        if not from_lidar or self._is_plain():
            truth = frame_truth(frame, self.options.rounding)
        elif frame.depth is None and frame.lidar is None:
            return None
        else:
            truth = self._kept(frame, drive)
            self._has_made_any = True
        if self.ego_mask is None or truth is None:
            return truth
        check_mask(self.ego_mask, truth.shape)
        return np.where(self.ego_mask, np.float32(np.nan), truth)

    def _is_plain(self) -> bool:
        """Returns whether nothing is done to points and nothing kept."""
        o = self.options
        return o.mode == "protocol" and o.vehicle is None and self.cache is None

    def _kept(self, frame: Frame, drive: Drive | None) -> Float32:
        """Returns the depth in the cache; makes it where it is not there or damaged."""
        if self.cache is None:
            return self._made(frame)
        name = f"{frame.stamp_ns}_{self._key(frame, drive)}.png"
        path = self.cache / name[-6:-4] / name
        if path.is_file():
            try:
                return read_depth_image(path, frame.camera.width, frame.camera.height)
            except ValueError as error:
                log.warning("%s is made anew: %s", path, error)
        data = encode_depth(self._made(frame))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data, durable=False)
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        return decode_depth(np.asarray(stored, np.uint16))

    def _key(self, frame: Frame, drive: Drive | None) -> str:
        """Returns 32 hexadecimal digits of everything that the depth follows from."""
        about = (CACHE_FORMAT, drive.name if drive else "", frame.camera_name, frame.stamp_ns)
        digest = hashlib.sha256(repr((*about, frame.camera, self.options)).encode())
        for array in (frame.depth, frame.lidar, frame.lidar_origin):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:32]

    def _made(self, frame: Frame) -> Float32:
        """Returns the depth made of lidar points, or of a depth image that was made of them."""
        if frame.depth is not None and (self.options.mode == "protocol" or frame.lidar is None):
            return self._cleaned(frame.depth, frame.camera)
        points = np.zeros((0, 3), np.float32) if frame.lidar is None else frame.lidar
        o = self.options
        own = None
        if o.vehicle is not None:
            of_vehicle = inside_box(points, o.vehicle)
            own = vehicle_pixels(points[of_vehicle], frame.camera)
            points = points[~of_vehicle]
        if o.mode == "filtered":
            points, _ = points_in_view(points, frame.camera)
            points = points[~hidden_points(points, frame.lidar_origin, o.occlusion)]
        depth = sparse_depth(points, frame.camera, rounding=o.rounding)
        if own is not None:
            depth[own] = np.nan
        return depth

    def _cleaned(self, depth: Float32, camera: Camera) -> Float32:
        """Returns a depth image of lidar points without hidden ones and the vehicle's."""
        rows, columns = np.nonzero(np.isfinite(depth) & np.isfinite(pixel_rays(camera)[0]))
        points = unproject(depth, camera)
        gone = np.zeros(len(points), bool)
        if self.options.mode == "filtered":
            gone = hidden_points(points, None, self.options.occlusion)
        depth = depth.copy()
        if self.options.vehicle is not None:
            of_vehicle = inside_box(points, self.options.vehicle)
            depth[vehicle_pixels(points[of_vehicle], camera)] = np.nan
            gone |= of_vehicle
        depth[rows[gone], columns[gone]] = np.nan
        return depth
