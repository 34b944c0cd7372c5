"""Pairs of one view by clear day and in weather, for synthetic adaptation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rosam_core.drives.augmentation import random_look, random_view
from rosam_core.drives.training_samples import TrainingSamples

CLEAR = "day-clear"


class PairedSamples(TrainingSamples):
    """The same view on a clear day and in another condition, of drives rendered in both.

    The arguments are those of `TrainingSamples`. A sample holds `clear` uint8[3,h,w], as
    rendered; `image`, the same shape and view in a random condition, sometimes the clear day
    itself, and in another look; `seen` bool[1,h,w], what is not beside the picture; and `focal`
    float32[].

    Raises:
        ValueError: See there; or a drive was not rendered by clear day.
    """

    def _check_weights(self) -> None:
        super()._check_weights()
        for drive in self.drives:
            if CLEAR not in drive.conditions:
                raise ValueError(
                    f"{drive.folder.name} has only {', '.join(drive.conditions)}: pairs need "
                    f"{CLEAR}, too (rosam synth --conditions)"
                )

    def __getitem__(self, position: int) -> dict[str, npt.NDArray[np.generic]]:
        """Returns sample `position` >= 0."""
        drive_index, frame = self.index[self._shuffled(position)]
        drive = self.drives[drive_index]
        rng = np.random.default_rng((self.seed, 1, position))
        weights = np.array([self.condition_weights.get(c, 1.0) for c in drive.conditions])
        condition = drive.conditions[int(rng.choice(len(weights), p=weights / weights.sum()))]
        depth, views = drive.depth(frame), []
        for name in (CLEAR, condition):
            same = np.random.default_rng((self.seed, 3, position))
            views.append(
                random_view(
                    drive.image(name, frame),
                    depth,
                    drive.camera,
                    self.size,
                    self.augmentation,
                    same,
                )
            )
        (clear, _, _), (image, shown, focal) = views
        image = random_look(image, self.augmentation, rng)
        seen = ~np.isnan(shown)
        image[~seen] = 0  # bars, as in `TrainingSamples`
        return {
            "image": np.ascontiguousarray(image.transpose(2, 0, 1)),
            "clear": np.ascontiguousarray(clear.transpose(2, 0, 1)),
            "seen": seen[None],
            "focal": np.float32(focal),
        }
