"""Temporal consistency: what depth changes by, from one frame to the next, along what is seen.

A point that is seen at depth d in frame t has, in frame t + 1, the depth z that the known motion
of the camera gives it. Its flicker is `|ln d' - ln z|` with d' the depth that frame t + 1 shows
there: a model that is wrong but steady has little of it, one that jumps from frame to frame much.

Which pixels of the two frames show the same static point is known from exact depth: the true depth
of the pixel, moved by the camera's motion, has to be the true depth where it arrives, to within
`SAME`. That leaves out what is hidden, what moves by itself and what leaves the image. Without
exact depth the prediction itself has to do: points are taken where it has them, and one that
arrives behind another is hidden. Then things that move by themselves count as flicker.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rosam_core.drives.base import Drive
from rosam_core.evaluation.boundaries import is_dense
from rosam_core.geometry.projection import project_points
from rosam_core.runtime.pointcloud import pixel_rays
from rosam_core.types import Camera, Float32, Float64, Frame

NEAR_S = 0.25
"""Frames further apart in time than this are not compared [s]."""

SAME = float(np.log(1.01))
"""Depths are of the same point up to this difference of their logarithms."""

HIDDEN = 1.05
"""Without exact depth, a point is hidden by one of its cell that is nearer by this ratio."""

SAMPLES = 6000
"""About so many pixels of a frame, on a grid: enough for a mean, and cheap."""

BORDER = 0.01
"""Pixels of the border that rounding moves this far out are still in the image [px]."""

RIGID = 1e-2
"""A pose whose rotation has a determinant further than this from 1 is no pose."""

KINDS = {"exact": "exact depth", "own": "the prediction"}
"""What says which pixels show the same point, in words."""

Bool = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Seen:
    """What is kept of a frame until the next one comes.

    Attributes:
        rays: float64[n,3], directions of a grid of pixels, at depth 1.
        depth: float64[n], predicted depth there [m]; NaN = unknown or beyond.
        truth: float64[n], exact depth there [m], or None if there is none.
        T_world_camera: float64[4,4], camera to world.
        cell_px: Distance of the grid's pixels [px].
    """

    rays: Float64
    depth: Float64
    truth: Float64 | None
    T_world_camera: Float64
    cell_px: int


def look(
    depth: Float32,
    truth: Float32 | None,
    camera: Camera,
    T_world_camera: Float64,
    range_m: tuple[float, float],
) -> Seen:
    """Returns what is kept of a frame.

    Args:
        depth: float32[H,W], predicted depth [m].
        truth: float32[H,W], exact depth [m], or None.
        camera: Intrinsics of both.
        T_world_camera: float64[4,4].
        range_m: Depth outside is not looked at [m].
    """
    step = max(1, round((depth.size / SAMPLES) ** 0.5))
    grid = np.s_[step // 2 :: step, step // 2 :: step]

    def inside(values: Float32) -> Float64:
        v = values[grid].ravel().astype(np.float64)
        return np.where((v > range_m[0]) & (v < range_m[1]), v, np.nan)

    x, y = (plane[grid].ravel().astype(np.float64) for plane in pixel_rays(camera))
    rays = np.stack([x, y, np.ones_like(x)], axis=1)
    true = None if truth is None else inside(truth)
    return Seen(rays, inside(depth), true, T_world_camera, step)


def flicker(
    before: Seen,
    depth: Float32,
    truth: Float32 | None,
    camera: Camera,
    T_world_camera: Float64,
    range_m: tuple[float, float],
) -> dict[str, Any] | None:
    """Returns how much depth changes from one frame to the next.

    Args:
        before: The frame before, of `look`.
        depth: float32[H,W], predicted depth of this frame [m].
        truth: float32[H,W], exact depth of this frame [m], or None.
        camera: Intrinsics of this frame.
        T_world_camera: float64[4,4], of this frame.
        range_m: Depth is clamped to this range [m].

    Returns:
        `kind` (one of `KINDS`), `flicker` (mean |ln d' - ln z|), `floor` (the same of the exact
        depth itself, None without) and `n` (points). None if no point is seen in both.
    """
    T = np.linalg.inv(T_world_camera) @ before.T_world_camera
    exact = truth is not None and before.truth is not None
    reference = before.truth if exact and before.truth is not None else before.depth
    chosen = np.flatnonzero(~np.isnan(reference) & ~np.isnan(before.depth))
    # Along the ray of each pixel, at the reference's depth, and at the predicted depth.
    turned = before.rays[chosen] @ T[:3, :3].T
    points = turned * reference[chosen, None] + T[:3, 3]
    z = turned[:, 2] * before.depth[chosen] + T[2, 3]
    front = np.flatnonzero((points[:, 2] > range_m[0]) & (z > 0))
    points, z = points[front], z[front]
    u, v = project_points(points.astype(np.float32), camera).T
    ends = camera.width - 1, camera.height - 1
    inside = (u > -BORDER) & (v > -BORDER) & (u < ends[0] + BORDER) & (v < ends[1] + BORDER)
    kept = np.flatnonzero(inside)
    u, v = np.clip(u[kept], 0, ends[0]), np.clip(v[kept], 0, ends[1])
    z, arrived = z[kept], points[kept, 2]
    now = np.log(_sampled(depth, u, v, range_m))
    error_of_truth = None
    if exact and truth is not None:
        error_of_truth = np.abs(np.log(_sampled(truth, u, v, range_m)) - np.log(arrived))
        seen = error_of_truth < SAME
    else:
        seen = ~_hidden(u, v, arrived, before.cell_px, camera.width)
    seen &= ~np.isnan(now)
    if not seen.any():
        return None
    change = np.abs(now - np.log(np.clip(z, *range_m)))
    return {
        "kind": "exact" if exact else "own",
        "flicker": float(change[seen].mean()),
        "floor": None if error_of_truth is None else float(error_of_truth[seen].mean()),
        "n": int(np.count_nonzero(seen)),
    }


def _sampled(depth: Float32, u: Float64, v: Float64, range_m: tuple[float, float]) -> Float64:
    """Returns depth between pixels, float64[n] [m]; NaN where one of the four is unknown.

    Inverse depth is interpolated: that of a plane is linear in the image.
    """
    height, width = depth.shape
    left = np.minimum(u.astype(np.intp), max(width - 2, 0))
    top = np.minimum(v.astype(np.intp), max(height - 2, 0))
    right, down = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, along = u - left, v - top

    def at(row: npt.NDArray[np.intp], column: npt.NDArray[np.intp]) -> Float64:
        return 1 / np.clip(depth[row, column].astype(np.float64), *range_m)

    upper = at(top, left) * (1 - across) + at(top, right) * across
    lower = at(down, left) * (1 - across) + at(down, right) * across
    return np.asarray(1 / (upper * (1 - along) + lower * along))


def _hidden(u: Float64, v: Float64, z: Float64, cell_px: int, width: int) -> Bool:
    """Returns bool[n]: which points arrive behind another one in their cell."""
    cells = width // cell_px + 1
    cell = (v / cell_px).astype(np.intp) * cells + (u / cell_px).astype(np.intp)
    nearest = np.full(cell.max() + 1 if cell.size else 0, np.inf)
    np.minimum.at(nearest, cell, z)
    return np.asarray(z > HIDDEN * nearest[cell])


class FlickerMeter:
    """Measures the flicker of frames that come one after the other."""

    def __init__(self, range_m: tuple[float, float], without_exact: bool = False) -> None:
        """Starts with nothing seen.

        Args:
            range_m: Scored depth [m].
            without_exact: Also measure where the prediction has to say what is hidden.
        """
        self.range_m, self.without_exact = range_m, without_exact
        self._pairs = 0
        self._reasons: collections.Counter[str] = collections.Counter()
        self._last: dict[tuple[int, str], tuple[Seen | None, int, str]] = {}

    def of(
        self, frame: Frame, truth: Float32, depth: Float32, drive: Drive, scene: str
    ) -> dict[str, Any] | None:
        """Returns `flicker` since the frame before, with `gap_s`; None if it cannot be told.

        Args:
            frame: The frame.
            truth: float32[H,W], what it is scored against [m].
            depth: float32[H,W], predicted depth [m].
            drive: The drive it is of.
            scene: Its scene.
        """
        exact = frame.depth is not None and is_dense(truth)
        if not (exact or self.without_exact):
            return None
        key = (id(drive), frame.camera_name)
        before, stamp_ns, where = self._last.get(key, (None, 0, ""))
        here = f"{scene} {frame.condition}"
        true = truth if exact else None
        camera = frame.camera.scaled_to(depth.shape[1], depth.shape[0])
        now: Seen | None = None
        pose = frame.T_world_camera
        if pose is not None and abs(np.linalg.det(pose[:3, :3]) - 1) < RIGID:
            now = look(depth, true, camera, pose, self.range_m)
        self._last[key] = (now, frame.stamp_ns, here)
        if pose is None or now is None:
            self._reasons["no pose" if pose is None else "no rigid pose"] += 1
            return None
        gap_s = (frame.stamp_ns - stamp_ns) / 1e9
        if before is None or where != here or not 0 < gap_s <= NEAR_S:
            self._reasons[f"no frame within {NEAR_S:g} s before it"] += 1
            return None
        found = flicker(before, depth, true, camera, pose, self.range_m)
        if found is None:
            self._reasons["nothing that is seen in both"] += 1
            return None
        self._pairs += 1
        return {**found, "gap_s": gap_s}

    @property
    def note(self) -> str:
        """Why nothing was measured, in words; empty if something was, or was not asked for."""
        if self._pairs or not self._reasons:
            return ""
        why = ", ".join(f"{reason} ({count} frames)" for reason, count in self._reasons.items())
        return f"flicker not measured: {why}"


def mean_flicker(images: Sequence[Mapping[str, Any] | None]) -> dict[str, dict[str, Any]]:
    """Returns the means over pairs of frames by kind, for the kinds that occur.

    Args:
        images: Results of `FlickerMeter.of`.
    """
    result: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        own = [image for image in images if image is not None and image["kind"] == kind]
        if own:
            row: dict[str, Any] = {"pairs": len(own), "n": sum(i["n"] for i in own)}
            for name in ("flicker", "floor", "gap_s"):
                values = [i[name] for i in own if i[name] is not None]
                row[name] = float(np.mean(values)) if values else None
            result[kind] = row
    return result


def flicker_rows(summaries: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Returns a table of the flicker, header first; only the header if none is known.

    Args:
        summaries: By condition; those with `flicker`, of `mean_flicker`, are shown.
    """
    rows = [["flicker", "pairs", "static and visible by", "apart [s]", "|d ln depth|", "of truth"]]
    for condition, summary in summaries.items():
        for kind, m in summary.get("flicker", {}).items():
            floor = "" if m["floor"] is None else f"{m['floor']:.4f}"
            figures = [f"{m['gap_s']:.2f}", f"{m['flicker']:.4f}", floor]
            rows.append([condition, str(m["pairs"]), KINDS[kind], *figures])
    return rows
