"""Samples of recorded drives as methods that learn from video read them, and for validation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rosam_core.drives.augmentation import AugmentationOptions
from rosam_core.drives.base import Drive
from rosam_core.drives.neighbours import NeighbourOptions
from rosam_core.drives.places import spread
from rosam_core.drives.recorded_samples import RecordedSamples, Sample, ViewOptions
from rosam_core.drives.training_samples import DepthTarget, depth_sample

SOURCES = ("previous", "next")


class VideoSamples:
    """The samples of `RecordedSamples`, with both neighbours in one array.

    A sample holds, with h and w of the network and the frame before and the frame after as the
    two sources:

    - `image` uint8[3,h,w], in another look; `clean`, as recorded.
    - `sources` uint8[2,3,h,w], as recorded; black where bool[2] `source_known` is not.
    - `K` float32[3,3] [px]; `focal` float32[], sqrt(fx fy) [px].
    - `T_source_target` float32[2,4,4]; NaN where not known.
    - `camera_height` float32[], above the ground [m]; 0 where not known.
    - `regions` int64[1,h,w], 0 = unassigned; all 0 without region maps.

    `is_metric` says whether the pose of any frame is known: without poses no method learns metres
    from video alone.

    Args:
        recorded: Where they come from.
    """

    def __init__(self, recorded: RecordedSamples) -> None:
        self.recorded = recorded
        self.is_metric = any(
            neighbour is not None and neighbour.T_neighbour_target is not None
            for target in recorded.targets
            for neighbour in (target.previous, target.next)
        )

    def __len__(self) -> int:
        """Returns the number of frames: one epoch."""
        return len(self.recorded)

    def name(self, position: int) -> str:
        """Returns scene/camera/stamp of a sample, for messages."""
        return self.recorded.name(self.recorded.place(position)[1])

    def __getitem__(self, position: int) -> dict[str, npt.NDArray[Any]]:
        """Returns sample `position` >= 0."""
        return video_sample(self.recorded[position])


def video_sample(sample: Sample) -> dict[str, npt.NDArray[Any]]:
    """Returns what `VideoSamples` says of a sample of `RecordedSamples`."""
    posed = np.array([sample[f"has_pose_{name}"] for name in SOURCES])
    motion = np.stack([sample[f"T_{name}_target"] for name in SOURCES])
    regions = sample.get("regions", np.zeros_like(sample["image"][:1]))
    return {
        "image": sample["image_augmented"],
        "clean": sample["image"],
        "sources": np.stack([sample[name] for name in SOURCES]),
        "source_known": np.array([sample[f"has_{name}"] for name in SOURCES]),
        "K": sample["K"],
        "focal": focal_length(sample),
        "T_source_target": np.where(posed[:, None, None], motion, np.float32(np.nan)),
        "camera_height": sample["camera_height"],
        "regions": regions.astype(np.int64),
    }


class RecordedValidation:
    """Whole frames of recorded drives with what is known of their depth, in a fixed order.

    Args:
        drives: Of any kind, with lidar or depth.
        size: Network width and height [px].
        target: How depth becomes a target.
        limit: At most so many frames, spread over the drives.
        resize: As `ViewOptions` has it.

    Raises:
        ValueError: There is no frame.
    """

    def __init__(
        self,
        drives: Sequence[Drive],
        size: tuple[int, int],
        target: DepthTarget,
        limit: int,
        resize: str = "stretch",
    ) -> None:
        self.recorded = RecordedSamples(
            drives,
            size,
            view=ViewOptions(resize=resize, crop=(1.0, 1.0), flip=0.0),
            look=AugmentationOptions(),
            # A camera that stands still is scored as well, and no image is read to see motion.
            neighbours=NeighbourOptions(need="none", min_speed_mps=0.0, min_flow_px=0.0),
            neighbour_looks=False,
        )
        self.recorded.targets = [
            dataclasses.replace(target, previous=None, next=None)  # which nothing here looks at
            for target in spread(self.recorded.targets, limit)
        ]
        self.target = target

    def __len__(self) -> int:
        """Returns the number of frames."""
        return len(self.recorded)

    def names(self) -> set[str]:
        """Returns scene/camera/stamp of every frame."""
        return self.recorded.names()

    def condition(self, number: int) -> str:
        """Returns the condition of a frame."""
        target = self.recorded.targets[number]
        return target.drive.glance(target.index).condition

    def __getitem__(self, number: int) -> dict[str, npt.NDArray[np.generic]]:
        """Returns `depth_sample` of a frame."""
        sample = self.recorded.at(0, number)
        depth = sample["depth"][0].astype(np.float32)
        known = np.where(depth > 0, depth, np.float32(np.nan))
        image = sample["image"].transpose(1, 2, 0).astype(np.uint8)
        return depth_sample(image, known, float(focal_length(sample)), self.target)


def focal_length(sample: Sample) -> npt.NDArray[np.float32]:
    """Returns sqrt(fx fy) of a sample, float32[] [px]."""
    K = np.asarray(sample["K"], np.float32)
    return np.asarray(np.sqrt(K[0, 0] * K[1, 1]), np.float32)
