"""What a drive holds, told without reading its images."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from rosam_core.drives.base import Drive, Glance
from rosam_core.drives.findings import in_words, missing_in_words
from rosam_core.types import CONDITIONS, Float64


@dataclasses.dataclass(frozen=True)
class Track:
    """The frames of one camera in one scene, in the drive's order.

    Attributes:
        scene: The recording they belong to.
        camera_name: The camera.
        indices: Place of each frame in the drive.
        glances: What is known of each frame.
    """

    scene: str
    camera_name: str
    indices: tuple[int, ...]
    glances: tuple[Glance, ...]

    @property
    def stamps_ns(self) -> np.ndarray:
        """Times of the frames, int64[N] [ns]."""
        return np.array([glance.stamp_ns for glance in self.glances], np.int64)

    @property
    def steps_s(self) -> Float64:
        """Time from each frame to the next, float64[N-1] [s]."""
        return np.diff(self.stamps_ns) / 1e9

    @property
    def span_s(self) -> float:
        """Time from the first to the last stamp [s]."""
        return float(np.ptp(self.stamps_ns)) / 1e9 if self.glances else 0.0

    @property
    def step_s(self) -> float | None:
        """Usual time between frames (median of what is positive) [s]; None for lone frames."""
        steps = self.steps_s
        steps = steps[steps > 0]
        return float(np.median(steps)) if steps.size else None

    def positions(self) -> Float64:
        """Returns where the camera is in each frame, float64[N,3] [m]; NaN without a pose."""
        unknown = np.full(3, np.nan)
        found = [
            unknown if glance.T_world_camera is None else glance.T_world_camera[:3, 3]
            for glance in self.glances
        ]
        return np.array(found, np.float64).reshape(-1, 3)

    @property
    def changes(self) -> list[int]:
        """Frames whose intrinsics are not those of the frame before, by index in the drive."""
        cameras = [glance.camera for glance in self.glances]
        pairs = zip(cameras, cameras[1:], self.indices[1:], strict=False)
        return [index for before, after, index in pairs if before != after]

    @property
    def distance_m(self) -> float | None:
        """Way between the frames with a pose [m]; None with fewer than two of them."""
        positions = self.positions()
        positions = positions[np.isfinite(positions).all(axis=1)]
        if len(positions) < 2:
            return None
        return float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum())


def tracks_of(drive: Drive) -> list[Track]:
    """Returns the frames of a drive by scene and camera.

    Args:
        drive: Any; of those that know their frames without reading them, none is read.
    """
    found: dict[tuple[str, str], list[tuple[int, Glance]]] = {}
    for index in range(len(drive)):
        glance = drive.glance(index)
        found.setdefault((drive.scene(index), glance.camera_name), []).append((index, glance))
    return [
        Track(scene, camera, *zip(*frames, strict=True))
        for (scene, camera), frames in found.items()
    ]


def faults_of(track: Track) -> list[str]:
    """Returns a line for each fault that shows without a look at images.

    Args:
        track: Frames of one camera in one scene: all of them, or those that are used.

    Returns:
        What is told of intrinsics that change, stamps that repeat or go back, and poses that some
        frames lack, with the scene, the camera and the frames.
    """
    after, steps = np.array(track.indices[1:], np.int64), track.steps_s
    poses = [glance.T_world_camera is not None for glance in track.glances]
    lost = [index for index, known in zip(track.indices, poses, strict=True) if not known]
    found = [
        ("have other intrinsics than the frame before", track.changes),
        ("are older than the frame before", after[steps < 0].tolist()),
        ("have the stamp of the frame before", after[steps == 0].tolist()),
        ("have no pose, unlike the others", lost if any(poses) else []),
    ]
    name, of = f"{track.scene}, {track.camera_name}", len(track.indices)
    return [
        f"{name}: {len(frames)} of {of} frames {what}: {in_words(frames)}"
        for what, frames in found
        if frames
    ]


def survey(drive: Drive) -> dict[str, Any]:
    """Returns what a drive holds, ready for JSON.

    Args:
        drive: Any drive.

    Returns:
        `name`, `frames`, `scenes`, `conditions` (frames of each), `duration_s` (of all scenes,
        each as long as its longest camera), `distance_m` (None without poses), frames with
        `poses` (and their `world_frame`, if it has a name), `lidar`, `depth`, `empty_scans`
        (frames whose scan holds no point), `missing` (names of images that are listed and not
        there), and `cameras`: `name`, `frames`, `sizes`, `fov_x_deg` and `fx` (smallest and
        largest), `distortion`, `rate_hz` (None for lone frames), and `largest_gap_s` with its
        `gap_after` (index of the frame before it). `faults` are the lines of `faults_of`, and
        those on missing images and empty scans.
    """
    tracks = tracks_of(drive)
    glances = [glance for track in tracks for glance in track.glances]
    conditions = Counter(glance.condition for glance in glances)
    scenes: dict[str, list[Track]] = {}
    cameras: dict[str, list[Track]] = {}
    for track in tracks:
        scenes.setdefault(track.scene, []).append(track)
        cameras.setdefault(track.camera_name, []).append(track)
    distances = [
        max((d for track in own if (d := track.distance_m) is not None), default=None)
        for own in scenes.values()
    ]
    known = [distance for distance in distances if distance is not None]
    empty = [
        index
        for track in tracks
        for index, glance in zip(track.indices, track.glances, strict=True)
        if glance.has_empty_scan
    ]
    return {
        "name": drive.name,
        "frames": len(drive),
        "scenes": len(scenes),
        "conditions": {name: conditions[name] for name in CONDITIONS if name in conditions},
        "duration_s": round(sum(max(t.span_s for t in own) for own in scenes.values()), 3),
        "distance_m": round(sum(known), 1) if known else None,
        "poses": sum(glance.T_world_camera is not None for glance in glances),
        "world_frame": drive.world_frame,
        "lidar": sum(glance.has_lidar for glance in glances),
        "depth": sum(glance.has_depth for glance in glances),
        "empty_scans": empty,
        "missing": list(drive.missing),
        "faults": [
            *([missing_in_words(drive.missing)] if drive.missing else []),
            *(
                [f"{len(empty)} frames have an empty lidar scan: {in_words(empty)}"]
                if empty
                else []
            ),
            *(line for track in tracks for line in faults_of(track)),
        ],
        "cameras": [_camera(name, own) for name, own in cameras.items()],
    }


def _camera(name: str, tracks: Sequence[Track]) -> dict[str, Any]:
    seen = {glance.camera for track in tracks for glance in track.glances}
    views = [camera.fov_x_deg for camera in seen]
    focal = [camera.fx for camera in seen]
    steps = [step for track in tracks if (step := track.step_s) is not None]
    gaps = [
        (float(track.steps_s[at]), track.indices[at])
        for track in tracks
        if len(track.indices) > 1
        for at in [int(np.argmax(track.steps_s))]
    ]
    gap = max(gaps, default=None)
    return {
        "name": name,
        "frames": sum(len(track.indices) for track in tracks),
        "sizes": sorted({f"{camera.width}x{camera.height}" for camera in seen}),
        "fov_x_deg": [round(min(views), 2), round(max(views), 2)],
        "fx": [round(min(focal), 3), round(max(focal), 3)],
        "distortion": sorted({camera.distortion_model or "none" for camera in seen}),
        "rate_hz": round(1 / float(np.median(steps)), 3) if steps else None,
        "largest_gap_s": round(gap[0], 6) if gap else None,
        "gap_after": gap[1] if gap else None,
    }
