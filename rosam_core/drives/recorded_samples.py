"""Training samples of any recorded drive: an image, its neighbours in time, and what is known.

Sample `index` of an epoch depends on the seed, the epoch and the index only, whatever the number
of loader processes; numbers that count on through all epochs say the same, shuffled.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rosam_core.drives.augmentation import AugmentationOptions, cut, random_look
from rosam_core.drives.base import Drive
from rosam_core.drives.neighbours import Neighbour, NeighbourOptions, Target, find_targets
from rosam_core.geometry.occlusion import hidden_points
from rosam_core.geometry.projection import points_in_view, sparse_depth
from rosam_core.geometry.undistortion import undistorted
from rosam_core.priors.region_map import folder_name, region_map_of
from rosam_core.runtime.pointcloud import unproject
from rosam_core.types import CONDITIONS, Camera, Float32, Float64, Frame, UInt16

Window = tuple[int, int, int, int]
Sample = dict[str, npt.NDArray[np.generic]]

RESIZES = ("stretch", "crop")
DENSE_SHARE = 0.5  # depth known in fewer pixels is points, which move to the pixels they fall on
MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])


@dataclasses.dataclass(frozen=True)
class ViewOptions:
    """Which part of the picture a sample shows.

    Attributes:
        resize: `"stretch"` the whole picture to the network, as the published protocol does, or
            `"crop"` it to the network's aspect first.
        crop: Smallest and largest width of the window, relative to the picture or that part.
        whole: Probability of the whole picture, or all of that part: what the network is shown
            when it runs. A window is narrower, however near its width is to 1.
        flip: Probability of a mirrored sample.
    """

    resize: str = "stretch"
    crop: tuple[float, float] = (0.8, 1.0)
    whole: float = 0.3
    flip: float = 0.5

    def __post_init__(self) -> None:
        if self.resize not in RESIZES:
            raise ValueError(f"resize must be one of {', '.join(RESIZES)}, got {self.resize!r}")
        if not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ValueError(f"need 0 < crop <= 1, in order, got {self.crop}")
        if not 0 <= self.whole <= 1 or not 0 <= self.flip <= 1:
            raise ValueError(f"need 0 <= whole <= 1 and 0 <= flip <= 1, got {self}")


class RecordedSamples:
    """Samples of drives for self-supervised training; safe to read from many processes.

    A sample holds, with h and w of the network:

    - `image`, `previous`, `next`: uint8[3,h,w] RGB, as recorded; black without a neighbour.
    - `image_augmented`, `previous_augmented`, `next_augmented`: the same in another look, one for
      all three.
    - `has_previous`, `has_next`: bool[].
    - `K`: float32[3,3], intrinsics of all of them [px]; lens distortion is removed.
    - `T_previous_target`, `T_next_target`: float32[4,4]; the identity where not known.
    - `has_pose_previous`, `has_pose_next`: bool[].
    - `seconds_previous`, `seconds_next`: float32[], time between [s]; 0 where there is none.
    - `distance_previous`, `distance_next`: float32[], way of the camera [m]; 0 where not known,
      as `has_pose_...` says.
    - `depth`: float32[1,h,w] [m], 0 = not known or sky: exact where the drive has it, else lidar.
    - `regions`: int32[1,h,w], 0 = unassigned; only if region maps are given.
    - `camera_height`: float32[], above the ground [m]; 0 where not known.
    - `condition`: int64[], place in `CONDITIONS`.
    - `id`: int64[], the same for the same frame in every run.
    """

    def __init__(
        self,
        drives: Sequence[Drive],
        size: tuple[int, int],
        *,
        view: ViewOptions | None = None,
        look: AugmentationOptions | None = None,
        neighbours: NeighbourOptions | None = None,
        regions: Path | None = None,
        camera_height_m: float | None = None,
        with_depth: bool = True,
        neighbour_looks: bool = True,
        conditions: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        """Finds the frames that can be learned from.

        Args:
            drives: Of any kind, at least one.
            size: Network width and height [px].
            view: Which part of the picture is shown.
            look: How the augmented images look (`random_look`); its views are not used.
            neighbours: Which images count as neighbours.
            regions: Folder that `rosam masks` wrote.
            camera_height_m: Of all cameras above the ground [m]; None = as the drives know it.
            with_depth: Read lidar or exact depth, where there is any.
            neighbour_looks: Augment the neighbours, too; without it a sample has no
                `previous_augmented` and `next_augmented`.
            conditions: Only frames of these are learned from; all if empty.
            seed: Everything random follows from it.

        Raises:
            ValueError: No frame is left; says why.
        """
        self.size = size
        self.view = view or ViewOptions()
        self.look = look or AugmentationOptions()
        self.regions = regions
        self.camera_height_m = camera_height_m
        self.with_depth = with_depth
        self.neighbour_looks = neighbour_looks
        self.seed = seed
        options = neighbours or NeighbourOptions()
        self.targets = find_targets(drives, options)
        if not self.targets:
            raise ValueError(
                f"none of the {sum(map(len, drives))} frames has {options.need} neighbour in "
                f"motion, {options.step} frames and at most {options.max_gap_s:g} s away: "
                "`rosam drive doctor` says how a drive moves"
            )
        if conditions:
            found = [target.drive.glance(target.index).condition for target in self.targets]
            pairs = zip(self.targets, found, strict=True)
            self.targets = [target for target, condition in pairs if condition in conditions]
            if not self.targets:
                raise ValueError(
                    f"none of {len(found)} frames is of {', '.join(conditions)}: they are of "
                    + ", ".join(sorted(set(found)))
                )
        self._epoch: tuple[int, npt.NDArray[np.int64]] | None = None

    def stretched(self) -> dict[tuple[int, int], float]:
        """Returns how much wider pixels become than high, by the size of the drives' images.

        1 keeps their shape, as the runtime does: what is trained on stretched pictures meets
        others when it runs.
        """
        if self.view.resize != "stretch":
            return {}
        cameras = [target.drive.glance(target.index).camera for target in self.targets]
        width, height = self.size
        return {(c.width, c.height): width / c.width / (height / c.height) for c in cameras}

    def __len__(self) -> int:
        """Returns the number of frames: one epoch."""
        return len(self.targets)

    def __getitem__(self, position: int) -> Sample:
        """Returns sample `position` >= 0 of the endless sequence of shuffled epochs."""
        return self.at(*self.place(position))

    def place(self, position: int) -> tuple[int, int]:
        """Returns the epoch of a sample of the endless sequence, and its index there."""
        epoch, within = divmod(position, len(self.targets))
        if self._epoch is None or self._epoch[0] != epoch:
            order = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.targets))
            self._epoch = (epoch, order)
        return epoch, int(self._epoch[1][within])

    def name(self, index: int) -> str:
        """Returns scene/camera/stamp of a frame, from which its `id` is made."""
        target = self.targets[index]
        glance = target.drive.glance(target.index)
        return f"{target.drive.scene(target.index)}/{glance.camera_name}/{glance.stamp_ns}"

    def names(self) -> set[str]:
        """Returns the names of all frames."""
        return {self.name(index) for index in range(len(self.targets))}

    def at(self, epoch: int, index: int) -> Sample:
        """Returns frame `index`, in the order of the drives, as this epoch shows it.

        Raises:
            FileNotFoundError: A file is missing, or a region map.
            ValueError: A file is damaged.
        """
        target = self.targets[index]
        rng = np.random.default_rng((self.seed, 1, epoch, index))
        frame = self._frame(target)
        regions = self._regions(target, frame)
        plain = undistorted(dataclasses.replace(frame, instances=regions))
        window = self._window(plain.camera, rng)
        is_flipped = bool(rng.random() < self.view.flip)
        # Lines of a shrunk picture alias without it.
        shrinks = window[2] >= 2 * self.size[0] or window[3] >= 2 * self.size[1]
        scaled = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        camera = plain.camera.cropped(*window).scaled_to(*self.size)

        def shown(values: npt.NDArray[Any], how: int) -> npt.NDArray[Any]:
            values = cut(values, window, self.size, how)
            return np.ascontiguousarray(values[:, ::-1] if is_flipped else values)

        sample: Sample = {"K": _intrinsics(camera, is_flipped)}
        pictures = {"image": shown(plain.image, scaled)}
        for name, neighbour in (("previous", target.previous), ("next", target.next)):
            picture = np.zeros_like(pictures["image"])
            if neighbour is not None:
                recorded = target.drive.image(neighbour.index)
                if recorded.shape != frame.image.shape:
                    raise ValueError(
                        f"{self.name(index)} is {frame.image.shape}, its neighbour "
                        f"{recorded.shape}: images of two cameras?"
                    )
                other = undistorted(Frame(recorded, frame.camera, 0))
                picture = shown(other.image, scaled)
            pictures[name] = picture
            sample.update(_motion(name, neighbour, is_flipped))
        for name, picture in pictures.items():
            sample[name] = np.ascontiguousarray(picture.transpose(2, 0, 1))
            if name != "image" and not self.neighbour_looks:
                continue
            # From the same numbers for each, so that all three get one look.
            look = np.random.default_rng((self.seed, 2, epoch, index))
            there = name == "image" or bool(sample[f"has_{name}"])
            other = random_look(picture, self.look, look) if there else picture
            sample[f"{name}_augmented"] = np.ascontiguousarray(other.transpose(2, 0, 1))
        if plain.instances is not None:
            ids = shown(plain.instances, cv2.INTER_NEAREST_EXACT)
            sample["regions"] = ids[None].astype(np.int32)
        depth = self._depth(target.drive, plain, camera, window)
        depth = np.ascontiguousarray(depth[:, ::-1] if is_flipped else depth)
        sample["depth"] = np.where(np.isfinite(depth), depth, np.float32(0))[None]
        sample["camera_height"] = np.float32(self.camera_height(target) or 0)
        sample["condition"] = np.int64(CONDITIONS.index(frame.condition))
        sample["id"] = stable_id(self.name(index))
        return sample

    def camera_height(self, target: Target) -> float | None:
        """Returns how high the camera of a frame is above the ground [m], None if not known."""
        known = self.camera_height_m
        return target.drive.camera_height(target.index) if known is None else known

    def _frame(self, target: Target) -> Frame:
        drive, index = target.drive, target.index
        if self.with_depth:
            return drive[index]
        glance, image = drive.glance(index), drive.image(index)
        if image.shape[:2] != (glance.camera.height, glance.camera.width):
            return drive[index]  # which knows, or says, what that means
        return Frame(
            image,
            glance.camera,
            glance.stamp_ns,
            condition=glance.condition,
            camera_name=glance.camera_name,
        )

    def _regions(self, target: Target, frame: Frame) -> UInt16 | None:
        if self.regions is None:
            return None
        return region_map_of(self.regions / folder_name(target.drive.name), frame)

    def _window(self, camera: Camera, rng: np.random.Generator) -> Window:
        """Draws the part of the picture that is shown, in whole pixels."""
        width, height = float(camera.width), float(camera.height)
        if self.view.resize == "crop":
            scale = max(self.size[0] / width, self.size[1] / height)
            width, height = self.size[0] / scale, self.size[1] / scale
        is_whole = rng.random() < self.view.whole
        share = 1.0 if is_whole else rng.uniform(*self.view.crop)
        w, h = max(round(width * share), 8), max(round(height * share), 8)
        left = int(rng.integers(0, camera.width - w + 1))
        return left, int(rng.integers(0, camera.height - h + 1)), w, h

    def _depth(self, drive: Drive, frame: Frame, camera: Camera, window: Window) -> Float32:
        """Returns the depth of the view, float32[h,w] [m]; NaN or +Inf where there is none."""
        depth, points = frame.depth, frame.lidar
        if depth is None or drive.depth_is_lidar:
            if points is None:
                return np.full((camera.height, camera.width), np.nan, np.float32)
            points, _ = points_in_view(points, frame.camera, border_px=0.0)
            points = points[~hidden_points(points, frame.lidar_origin)]
        elif np.isnan(depth).mean() < 1 - DENSE_SHARE:
            return cut(depth, window, self.size, cv2.INTER_NEAREST_EXACT)
        else:
            points = unproject(depth, frame.camera)
        return sparse_depth(points, camera, border_px=0.0)


def stable_id(name: str) -> np.int64:
    """Returns a number >= 0 that is the same for the same name everywhere, and for no other."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.int64(int.from_bytes(digest[:8], "big") >> 1)


def _intrinsics(camera: Camera, is_flipped: bool) -> Float32:
    K = camera.K.astype(np.float32)
    if is_flipped:
        K[0, 2] = camera.width - 1 - camera.cx
    return K


def _motion(name: str, neighbour: Neighbour | None, is_flipped: bool) -> Sample:
    """Returns what is known of the motion between a neighbour and the target."""
    T: Float64 | None = None if neighbour is None else neighbour.T_neighbour_target
    if T is not None and is_flipped:  # the mirrored world moves the mirrored way
        T = MIRROR @ T @ MIRROR
    known = np.eye(4) if T is None else T
    return {
        f"has_{name}": np.bool_(neighbour is not None),
        f"has_pose_{name}": np.bool_(T is not None),
        f"T_{name}_target": known.astype(np.float32),
        f"seconds_{name}": np.float32(0 if neighbour is None else neighbour.seconds),
        f"distance_{name}": np.float32(np.linalg.norm(known[:3, 3])),
    }
