"""Stage 1 on recorded drives: the weather of each clear image is made from its depth."""

from __future__ import annotations

from torch import Tensor, nn

from rosam_core.drives.translation import translate
from rosam_core.methods.base import Batch
from rosam_core.methods.neighbours import view_depth
from rosam_core.methods.syn2real import AdaptationOptions, SyntheticAdaptation
from rosam_core.types import CONDITIONS


class TranslatedAdaptation(SyntheticAdaptation):
    """Stage 1 without a second rendering. Batches as `ClearSamples` makes them.

    The published method translates images with a generative network trained for it; here the
    renderer's physics do, with the depth that teaches (`rosam_core.drives.translation`).

    Args:
        student: See `SyntheticAdaptation`.
        day: See there.
        options: See there.
        canonical_focal_px: Focal length for which the networks' output is metres [px].
    """

    def __init__(
        self,
        student: nn.Module,
        day: nn.Module,
        options: AdaptationOptions,
        canonical_focal_px: float,
    ) -> None:
        super().__init__(student, day, options)
        self.canonical_focal_px = canonical_focal_px

    def adverse(self, batch: Batch, depth: Tensor) -> Tensor:
        """Returns each clear image in the weather that its sample names.

        Those that stay clear are the batch's own, which have their augmentation.
        """
        conditions = [CONDITIONS[i] for i in batch["condition"].tolist()]  # device-to-host sync
        metres = view_depth(depth, batch, self.canonical_focal_px)
        image = translate(
            batch["clear"], metres, batch["K"], conditions, batch["weather"].tolist()
        )
        stays = batch["condition"] == CONDITIONS.index("day-clear")
        return batch["image"].where(stays[:, None, None, None], image)
