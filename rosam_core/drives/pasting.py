"""Objects of one rendered frame put into another, where they hide what is behind them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping

import cv2
import numpy as np
import numpy.typing as npt

from rosam_core.types import Camera, Float32, Float64, UInt8, UInt16

MOST_OBJECTS = 4
"""At most so many objects of one frame are put into another."""

NEARER = 0.3
"""An object may come as near as this part of its former distance..."""

NEARER_IN: Mapping[str, float] = {"fog": 0.8, "night": 0.7}
"""...but not so near where its look tells how far away it was: haze, one's own headlights."""

_SMALLEST_PX = 60
_LARGEST_SHARE = 0.3  # of the picture
_DEEPEST = 1.6  # farthest by nearest depth of an object that is moved as if it were flat
_IN_FRONT = 0.97  # of its outline, so that nothing hides a part of it
_BEHIND = 0.85  # what lies beside an object has at least this part of its depth
_NEAREST_M = 0.8
_LEAST_UPRIGHT = -0.5  # of what points down in the picture, along what points up in the world
_LARGEST_SCALE = 3.0  # more than this shows only blur


@dataclasses.dataclass(frozen=True)
class RenderedFrame:
    """What is needed of a frame that gives or takes objects.

    Attributes:
        image: uint8[H,W,3].
        depth: float32[H,W] [m]; +Inf = sky, NaN = unknown.
        instances: uint16[H,W], object ids, 0 = none.
        camera: Intrinsics of all three.
        ground: float64[4], the third row of T_world_camera: the direction up in the camera, and
            the camera's height above the ground [m].
    """

    image: UInt8
    depth: Float32
    instances: UInt16
    camera: Camera
    ground: Float64


def paste_objects(
    frame: RenderedFrame, donor: RenderedFrame, nearer: float, rng: np.random.Generator
) -> RenderedFrame:
    """Returns the frame with some objects of another one standing in it.

    Things close by are rare in street pictures and decide what a robot may do. An object keeps
    its size in metres and its height above the ground: it moves to another column and to `nearer`
    ... 1 times its distance, is scaled by (f_frame / f_donor) (Z_donor / Z_frame), lands in the
    row where its foot has the height above the ground that it had, and is hidden by what is nearer
    (Dwibedi et al., "Cut, Paste and Learn", ICCV 2017, with the third dimension). All its depths
    are taken times that factor, which is what its enlarged picture shows: nearer by half, it is
    also half as long.

    Cameras that are tilted or rolled by more than 60 degrees neither give nor take any.

    Args:
        frame: Where the objects go; not changed.
        donor: Where they are from: of the same condition.
        nearer: Smallest factor of their distance, in (0, 1].
        rng: Source of randomness.
    """
    if max(frame.ground[1], donor.ground[1]) > _LEAST_UPRIGHT:
        return frame
    count = int(rng.integers(1, MOST_OBJECTS + 1))
    image, depth, instances = frame.image.copy(), frame.depth.copy(), frame.instances.copy()
    for mask in itertools.islice(_whole_objects(donor, rng), count):
        distance = float(np.median(donor.depth[mask]))
        factor = float(np.exp(rng.uniform(np.log(nearer), 0)))
        factor = min(max(factor, _NEAREST_M / distance), 1.0)
        column = rng.uniform(0, frame.camera.width)
        scale, shift = _placement(frame, donor, mask, factor, column)
        if not 0 < scale <= _LARGEST_SCALE:
            continue
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        size = (frame.camera.width, frame.camera.height)
        share = cv2.warpAffine(mask.astype(np.float32), matrix, size, flags=cv2.INTER_LINEAR)
        # Depth is of one thing or the other; at 0.6 little of the donor's background comes along.
        moved = cv2.warpAffine(donor.depth, matrix, size, flags=cv2.INTER_NEAREST)
        moved *= np.float32(factor)
        seen = (share > 0.6) & (moved < depth) & (moved > 0)
        looks = cv2.warpAffine(donor.image, matrix, size, flags=cv2.INTER_LINEAR)
        image[seen] = looks[seen]
        depth[seen] = moved[seen]
        instances[seen] = int(instances.max()) + 1
    return dataclasses.replace(frame, image=image, depth=depth, instances=instances)


def _whole_objects(
    frame: RenderedFrame, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.bool_]]:
    """Yields the masks of objects that nothing hides and no border cuts, neither tiny nor long.

    In random order, large ones sooner.
    """
    counts = np.bincount(frame.instances.ravel())
    fits = (counts >= _SMALLEST_PX) & (counts <= _LARGEST_SHARE * frame.instances.size)
    fits[0] = False  # no object
    numbers = np.nonzero(fits)[0]
    # Drawn without replacement, with probabilities as sqrt(count) (Efraimidis and Spirakis).
    keys = np.log(rng.random(len(numbers))) / np.sqrt(counts[numbers])
    for number in numbers[np.argsort(-keys)].tolist():
        inside = (frame.instances == number).astype(np.uint8)
        if _is_whole(inside, frame.depth):
            yield inside.astype(bool)


def _is_whole(inside: UInt8, depth: Float32) -> bool:
    x, y, w, h = cv2.boundingRect(inside)
    if x == 0 or y == 0 or x + w == inside.shape[1] or y + h == inside.shape[0]:
        return False
    box = (slice(y - 1, y + h + 1), slice(x - 1, x + w + 1))
    inside, depth = inside[box], depth[box]
    own = depth[inside > 0]
    if not np.isfinite(own).all():
        return False
    near, far = np.percentile(own, (2, 98))
    if not near > 0 or far > _DEEPEST * near:
        return False
    beside = cv2.dilate(np.where(inside > 0, depth, np.float32(0)), np.ones((3, 3)))
    rim = (inside == 0) & (beside > 0)
    # The road before an object's foot is a little nearer than the foot.
    return bool((depth[rim] > _BEHIND * beside[rim]).mean() >= _IN_FRONT)


def _placement(
    frame: RenderedFrame,
    donor: RenderedFrame,
    mask: npt.NDArray[np.bool_],
    factor: float,
    column: float,
) -> tuple[float, npt.NDArray[np.float64]]:
    """Returns the scale and the shift [px] that take an object to a column and a distance.

    `factor` is that distance by the one in the donor.
    """
    rows, columns = np.nonzero(mask)
    foot_row, lowest = float(rows.max()), columns[rows == rows.max()]
    foot_column = float(np.mean(lowest))
    before = float(np.median(donor.depth[rows.max(), lowest]))
    camera, up = donor.camera, donor.ground[:3]
    foot = before * np.array(
        [(foot_column - camera.cx) / camera.fx, (foot_row - camera.cy) / camera.fy, 1.0]
    )
    height = donor.ground[3] + up @ foot
    scale = np.sqrt(frame.camera.fx * frame.camera.fy / (camera.fx * camera.fy))
    scale /= factor
    distance = before * factor
    camera, up = frame.camera, frame.ground[:3]
    x = (column - camera.cx) / camera.fx * distance
    y = (height - frame.ground[3] - up[0] * x - up[2] * distance) / up[1]
    row = camera.cy + camera.fy * y / distance
    return float(scale), np.array([column - scale * foot_column, row - scale * foot_row])
