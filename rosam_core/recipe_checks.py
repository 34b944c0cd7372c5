"""Whether drives and weights know what a recipe asks of them."""

from __future__ import annotations

import logging

from rosam_core.checkpoint import student_facts
from rosam_core.drives.recorded_samples import RecordedSamples
from rosam_core.drives.video_samples import VideoSamples
from rosam_core.methods.rosam_depth import RosamOptions
from rosam_core.recipe import Recipe

log = logging.getLogger(__name__)

STRETCH_TOLERANCE = 1.04
"""Pixels so much wider than high, or the other way, are no matter: `unseen_view` knows of them."""


def check_regions(recipe: Recipe, options: RosamOptions) -> None:
    """Refuses priors of regions without regions: they would change nothing.

    Raises:
        ValueError: The recipe names none and has a term that is of regions.
    """
    if recipe.data.video.regions:
        return
    using = {
        "contrast_weight": options.contrast_weight > 0,
        "likelihood_weight": options.likelihood_weight > 0,
        "outlier_mask": options.outlier_mask,
        "reliability=region": options.reliability == "region",
        f"label={options.label}": options.label != "teacher",
        "known_height": options.known_height,
        "smoothness=region": options.smoothness == "region",
    }
    if named := [name for name, is_used in using.items() if is_used]:
        raise ValueError(
            f"rosam_depth uses regions ({', '.join(named)}): data.video.regions=FOLDER of "
            "`rosam masks`, or method=real_adaptation, which has no use for any"
        )


def check_knowledge(options: RosamOptions, samples: VideoSamples) -> None:
    """Refuses options that need to know more of the drives, or the teacher, than is known.

    Raises:
        ValueError: A teacher without scale would be judged in metres, or no camera's height is
            known.
    """
    has_scale = not options.teacher or student_facts(options.teacher).is_metric
    if options.reliability != "none":
        if not samples.is_metric:
            log.warning("no frame has the pose of a neighbour: every label is as reliable")
        elif not has_scale:
            raise ValueError(
                f"the depth of {options.teacher} has no scale, so poses of the drives do not "
                "judge it: set rosam_depth.reliability=none"
            )
    if not options.known_height:
        return
    if not has_scale:
        raise ValueError(
            f"the depth of {options.teacher} has no scale that the camera's height could mend: "
            "set rosam_depth.known_height=false"
        )
    recorded = samples.recorded
    unknown = sum(not recorded.camera_height(target) for target in recorded.targets)
    if unknown == len(recorded.targets):
        raise ValueError(
            "no drive knows how high its camera is, which rosam_depth.known_height needs: set "
            "data.video.camera_height_m"
        )
    if unknown:
        log.warning(
            "%d of %d frames do not know how high their camera is: their labels keep the scale of "
            "the teacher",
            *(unknown, len(recorded.targets)),
        )


def warn_of_stretching(recorded: RecordedSamples) -> None:
    """Says which images change their shape on the way to the network, and which size keeps it."""
    width, height = recorded.size
    for (w, h), ratio in recorded.stretched().items():
        if max(ratio, 1 / ratio) <= STRETCH_TOLERANCE:
            continue
        rows = max(round((width * height * h / w) ** 0.5 / 32), 2) * 32
        columns = max(round(rows * w / h / 32), 2) * 32
        better = "data.width={} data.height={}, or "
        log.warning(
            "images of %dx%d are stretched to %dx%d, their pixels %.2f times as wide as high, but "
            "the node and rosam eval keep the shape: use %sdata.video.view.resize=crop",
            *(w, h, width, height, ratio),
            "" if (columns, rows) == (width, height) else better.format(columns, rows),
        )
