"""Endless, reproducible training samples from a folder of synthetic drives.

Sample number `p` depends on the seed and on `p` only, so a run that resumes at step `s` sees what
the uninterrupted run would have seen, whatever the number of loader processes.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rosam_core.drives.augmentation import (
    AugmentationOptions,
    letterbox_view,
    mix_conditions,
    random_look,
    random_view,
)
from rosam_core.drives.image_files import read_image
from rosam_core.drives.pasting import NEARER, NEARER_IN, RenderedFrame, paste_objects
from rosam_core.drives.repainting import repaint_objects
from rosam_core.types import Camera, Float32, Float64, UInt8, UInt16

log = logging.getLogger(__name__)

FORMAT = "rosam-synthetic-1"
_DONORS_TRIED = 8  # frames looked at for one of the same condition


@dataclasses.dataclass(frozen=True)
class DepthTarget:
    """How depth becomes the number that a network learns.

    Attributes:
        canonical_focal_px: Focal length, at network size, for which the output is metres.
        min_depth_m: Nearer pixels carry no loss.
        max_depth_m: Farther pixels are only "beyond".
        beyond_margin: What is beyond must be predicted past `max_depth_m` times this.
    """

    canonical_focal_px: float
    min_depth_m: float = 0.5
    max_depth_m: float = 100.0
    beyond_margin: float = 1.2


@dataclasses.dataclass(frozen=True)
class DriveIndex:
    """One synthetic drive: where it is, its camera, conditions, frames and its world's seed.

    `ground` holds for each frame the third row of T_world_camera: the direction up in the camera,
    and the camera's height above the ground [m].
    """

    folder: Path
    camera: Camera
    conditions: tuple[str, ...]
    frames: int
    seed: int
    ground: tuple[tuple[float, ...], ...]

    @classmethod
    def read(cls, folder: Path) -> DriveIndex:
        """Reads `drive.json`.

        Raises:
            ValueError: The file is not a synthetic drive's.
        """
        path = folder / "drive.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values.get("format") != FORMAT:
                raise ValueError(f"format is {values.get('format')!r}, expected {FORMAT!r}")
            fx, fy, cx, cy = (float(values[k]) for k in ("fx", "fy", "cx", "cy"))
            camera = Camera(fx, fy, cx, cy, int(values["width"]), int(values["height"]))
            conditions = tuple(values["conditions"])
            ground = tuple(
                tuple(float(x) for x in frame["T_world_camera"][2]) for frame in values["frames"]
            )
            if any(len(row) != 4 for row in ground):
                raise ValueError("a pose is not 4 by 4")
            return cls(folder, camera, conditions, len(ground), int(values["seed"]), ground)
        except (
            json.JSONDecodeError,
            KeyError,
            TypeError,
            AttributeError,
            ValueError,
            IndexError,
        ) as error:
            raise ValueError(
                f"{path} does not describe a synthetic drive: {error!r}; make drives with "
                "`rosam synth`"
            ) from error

    def image(self, condition: str, frame: int) -> UInt8:
        """Returns uint8[H,W,3], RGB."""
        stem = self.folder / "images" / condition / f"{frame:06d}"
        for suffix in (".jpg", ".png"):
            path = stem.with_suffix(suffix)
            if path.is_file():
                return _sized(read_image(path), self.camera, path)
        raise FileNotFoundError(f"no image {stem}.jpg or .png: is the drive complete?")

    def depth(self, frame: int) -> Float32:
        """Returns float32[H,W] [m]: +Inf = sky or beyond, NaN = unknown."""
        path = self.folder / "depth" / f"{frame:06d}.png"
        stored = _sized(_read(path), self.camera, path)
        depth = stored.astype(np.float32) / np.float32(256)
        depth[stored == 65535] = np.inf
        depth[stored == 0] = np.nan
        return depth

    def instances(self, frame: int) -> UInt16:
        """Returns uint16[H,W], object ids, 0 = none."""
        path = self.folder / "instances" / f"{frame:06d}.png"
        return _sized(_read(path), self.camera, path).astype(np.uint16)


def find_training_drives(root: str | Path) -> list[DriveIndex]:
    """Returns every synthetic drive in a folder, by name, or the folder itself if it is one.

    Raises:
        FileNotFoundError: There is no such folder or no drive in it; says how to make some.
        ValueError: A drive is damaged.
    """
    root = Path(root)
    folders = [root] if (root / "drive.json").is_file() else sorted(root.glob("*/drive.json"))
    drives = [DriveIndex.read(f if f.is_dir() else f.parent) for f in folders]
    drives = [d for d in drives if d.frames and d.conditions]
    if not drives:
        found = "holds no synthetic drive" if root.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"{root} {found}; make some with: rosam synth --out {root} --drives 64 --frames 40 "
            "--conditions day-clear,night,day-rain,fog --seed 1"
        )
    return drives


def shared_worlds(first: Sequence[DriveIndex], second: Sequence[DriveIndex]) -> list[int]:
    """Returns the seeds, that is the worlds, that two sets of drives have in common."""
    return sorted({d.seed for d in first} & {d.seed for d in second})


class TrainingSamples:
    """Sample `p` of an endless shuffled, augmented sequence; safe to read from many processes.

    Args:
        drives: At least one.
        size: Network width and height [px].
        target: How depth becomes a training target.
        augmentation: What is varied.
        seed: Everything random follows from it.
        condition_weights: Relative frequency of the conditions; the missing ones count 1.

    Raises:
        ValueError: A weight is negative or of no condition in the drives, or a drive has only
            conditions of weight 0.
    """

    is_metric = True

    def __init__(
        self,
        drives: Sequence[DriveIndex],
        size: tuple[int, int],
        target: DepthTarget,
        augmentation: AugmentationOptions,
        seed: int,
        condition_weights: dict[str, float] | None = None,
    ) -> None:
        self.drives = list(drives)
        self.size = size
        self.target = target
        self.augmentation = augmentation
        self.seed = seed
        self.condition_weights = dict(condition_weights or {})
        self._check_weights()
        self.index = [(d, i) for d, drive in enumerate(drives) for i in range(drive.frames)]
        self._epoch: tuple[int, npt.NDArray[np.int64]] | None = None

    def _check_weights(self) -> None:
        known = sorted({condition for drive in self.drives for condition in drive.conditions})
        for condition, weight in self.condition_weights.items():
            if condition not in known or not weight >= 0:
                raise ValueError(
                    f"condition_weights: {condition}={weight}, expected weights >= 0 of the "
                    f"conditions in these drives: {', '.join(known)}"
                )
        for drive in self.drives:
            if not any(self.condition_weights.get(c, 1.0) for c in drive.conditions):
                raise ValueError(
                    f"condition_weights leave nothing of {drive.folder.name}, which has only "
                    f"{', '.join(drive.conditions)}"
                )

    def __len__(self) -> int:
        """Returns the number of frames, each in every condition: one epoch."""
        return len(self.index)

    def name(self, position: int) -> str:
        """Returns drive/frame of a sample, for messages."""
        drive, frame = self.index[self._shuffled(position)]
        return f"{self.drives[drive].folder.name}/{frame:06d}"

    def __getitem__(self, position: int) -> dict[str, npt.NDArray[np.generic]]:
        """Returns sample `position` >= 0; see `depth_sample`."""
        drive_index, frame = self.index[self._shuffled(position)]
        drive = self.drives[drive_index]
        rng = np.random.default_rng((self.seed, 1, position))
        weights = np.array([self.condition_weights.get(c, 1.0) for c in drive.conditions])
        first = int(rng.choice(len(weights), p=weights / weights.sum()))
        condition = drive.conditions[first]
        image, depth = drive.image(condition, frame), drive.depth(frame)
        others = np.where(np.arange(len(weights)) == first, 0.0, weights)
        if rng.random() < self.augmentation.mix and others.any():
            second = int(rng.choice(len(weights), p=others / others.sum()))
            image = mix_conditions(image, drive.image(drive.conditions[second], frame), rng)
        repaints = rng.random() < self.augmentation.repaint
        pasting = np.random.default_rng((self.seed, 4, position))  # the rest stays as it is
        donor = self._donor(condition, pasting)
        if repaints or donor:  # no other sample needs the ids
            shown = _rendered(drive, frame, image, depth)
            if donor:
                nearer = NEARER_IN.get(condition, NEARER)
                shown = paste_objects(shown, donor, nearer, pasting)
            image, depth = shown.image, shown.depth
            if repaints:
                share = self.augmentation.repaint_share
                image = repaint_objects(image, shown.instances, share, rng)
        image, depth, focal = random_view(
            image, depth, drive.camera, self.size, self.augmentation, rng
        )
        outside = np.isnan(depth)
        image = random_look(image, self.augmentation, rng)
        if outside.any():
            image[outside] = 0  # the runtime's letterbox bars are exactly black
        return depth_sample(image, depth, focal, self.target)

    def _donor(self, condition: str, rng: np.random.Generator) -> RenderedFrame | None:
        """Returns another frame of a condition to take objects from, as often as asked for."""
        if rng.random() >= self.augmentation.paste:
            return None
        for choice in rng.integers(len(self.index), size=_DONORS_TRIED):
            drive_index, frame = self.index[choice]
            drive = self.drives[drive_index]
            if condition in drive.conditions:
                return _rendered(drive, frame, drive.image(condition, frame), drive.depth(frame))
        return None

    def _shuffled(self, position: int) -> int:
        epoch, within = divmod(position, len(self.index))
        if self._epoch is None or self._epoch[0] != epoch:
            order = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.index))
            self._epoch = (epoch, order)
        return int(self._epoch[1][within])


def _rendered(drive: DriveIndex, frame: int, image: UInt8, depth: Float32) -> RenderedFrame:
    ground: Float64 = np.array(drive.ground[frame])
    return RenderedFrame(image, depth, drive.instances(frame), drive.camera, ground)


def depth_sample(
    image: UInt8, depth: Float32, focal: float, target: DepthTarget
) -> dict[str, npt.NDArray[np.generic]]:
    """Returns what the supervised method reads, as arrays.

    Args:
        image: uint8[h,w,3], RGB, at network size.
        depth: float32[h,w] [m]; NaN = unknown, +Inf = beyond.
        focal: Focal length of the view [px].
        target: How depth becomes a training target.

    Returns:
        `image` uint8[3,h,w]; `log_depth` float32[1,h,w], log of depth * canonical focal / focal,
        or of its lower bound; `valid` and `beyond` bool[1,h,w]; `focal` float32[].
    """
    beyond = depth > target.max_depth_m
    valid = (depth >= target.min_depth_m) & ~beyond
    metres = np.where(valid, depth, np.float32(1))
    metres[beyond] = target.max_depth_m * target.beyond_margin
    log_depth = np.log(metres * np.float32(target.canonical_focal_px / focal))
    return {
        "image": np.ascontiguousarray(image.transpose(2, 0, 1)),
        "log_depth": log_depth[None].astype(np.float32),
        "valid": valid[None],
        "beyond": beyond[None],
        "focal": np.float32(focal),
    }


class ValidationSamples:
    """Whole, letterboxed frames of held-out drives, each in every condition, in a fixed order.

    Args:
        drives: At least one.
        size: Network width and height [px].
        target: As in training.
        limit: At most this many samples, spread evenly.
    """

    def __init__(
        self,
        drives: Sequence[DriveIndex],
        size: tuple[int, int],
        target: DepthTarget,
        limit: int,
    ) -> None:
        self.size = size
        self.target = target
        frames = [(d, f) for d in drives for f in range(d.frames)]
        conditions = max(len(d.conditions) for d in drives)
        kept = np.linspace(0, len(frames) - 1, min(len(frames), max(limit // conditions, 1)))
        self.samples = [
            (frames[i][0], frames[i][1], condition)
            for i in sorted({round(k) for k in kept})
            for condition in frames[i][0].conditions
        ]

    def __len__(self) -> int:
        """Returns the number of samples."""
        return len(self.samples)

    def condition(self, position: int) -> str:
        """Returns the condition of a sample."""
        return self.samples[position][2]

    def __getitem__(self, position: int) -> dict[str, npt.NDArray[np.generic]]:
        """Returns sample `position`; see `depth_sample`."""
        drive, frame, condition = self.samples[position]
        image, depth, focal = letterbox_view(
            drive.image(condition, frame), drive.depth(frame), drive.camera, self.size
        )
        return depth_sample(image, depth, focal, self.target)


def _read(path: Path) -> npt.NDArray[Any]:
    """Returns a PNG as it is stored; a checksum in it tells damage."""
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise FileNotFoundError(
            f"cannot read {path}: missing or truncated; is the drive complete?"
        )
    return stored


def _sized(array: npt.NDArray[Any], camera: Camera, path: Path) -> npt.NDArray[Any]:
    if array.shape[:2] != (camera.height, camera.width):
        raise ValueError(
            f"{path} is {array.shape[1]}x{array.shape[0]}, its drive says "
            f"{camera.width}x{camera.height}"
        )
    return array
