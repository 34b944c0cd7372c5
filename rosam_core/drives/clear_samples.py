"""Clear days of recorded drives, and the weather that each is to be translated to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rosam_core.drives.recorded_samples import RecordedSamples
from rosam_core.drives.video_samples import focal_length
from rosam_core.types import CONDITIONS

CLEAR = "day-clear"
TRANSLATED = (CLEAR, "night", "day-rain", "fog")
"""Conditions that a sample can ask for; the first leaves it as it is."""


class ClearSamples:
    """Frames of clear days; sample `p` depends on the seed and on `p` only.

    A sample holds `clear` uint8[3,h,w], as recorded; `image`, the same in another look; `K`
    float32[3,3] and `focal` float32[] [px]; `condition` int64[], the place in `CONDITIONS` of the
    weather that it is to be shown in; and `weather` int64[], the seed of that weather.

    Args:
        recorded: Frames of any condition; only clear and unknown ones are taken.
        condition_weights: Relative frequency of the conditions; the missing ones count 1.

    Raises:
        ValueError: No frame is of a clear day, or a weight is of no such condition.
    """

    is_metric = True  # what the teacher's depth is

    def __init__(
        self, recorded: RecordedSamples, condition_weights: Mapping[str, float] | None = None
    ) -> None:
        self.recorded = recorded
        conditions = [t.drive.glance(t.index).condition for t in recorded.targets]
        taken = [
            dataclasses.replace(target, previous=None, next=None)  # which nothing here looks at
            for target, condition in zip(recorded.targets, conditions, strict=True)
            if condition in (CLEAR, "unknown")
        ]
        if not taken:
            raise ValueError(
                f"none of {len(conditions)} frames is of a clear day, which is what weather is "
                f"put on: {', '.join(sorted(set(conditions)))}"
            )
        recorded.targets = taken
        given = dict(condition_weights or {})
        weights = np.array([given.get(name, 1.0) for name in TRANSLATED])
        unknown = sorted(set(given) - set(TRANSLATED))
        if unknown or not (weights >= 0).all() or not weights.sum() > 0:
            raise ValueError(
                f"condition_weights {given}: expected weights >= 0, not all 0, of "
                + ", ".join(TRANSLATED)
            )
        self.weights = weights / weights.sum()

    def __len__(self) -> int:
        """Returns the number of frames: one epoch."""
        return len(self.recorded)

    def name(self, position: int) -> str:
        """Returns scene/camera/stamp of a sample, for messages."""
        return self.recorded.name(self.recorded.place(position)[1])

    def __getitem__(self, position: int) -> dict[str, npt.NDArray[Any]]:
        """Returns sample `position` >= 0."""
        sample = self.recorded[position]
        rng = np.random.default_rng((self.recorded.seed, 5, position))
        condition = TRANSLATED[int(rng.choice(len(TRANSLATED), p=self.weights))]
        return {
            "image": sample["image_augmented"],
            "clear": sample["image"],
            "K": sample["K"],
            "focal": focal_length(sample),
            "condition": np.int64(CONDITIONS.index(condition)),
            "weather": np.int64(rng.integers(1 << 31)),
        }
