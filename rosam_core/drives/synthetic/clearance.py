"""What must go from a world: things that the camera, or other traffic, would drive through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rosam_core.drives.synthetic.layout import Placed
from rosam_core.drives.synthetic.parts import Kind
from rosam_core.types import Float64

if TYPE_CHECKING:  # a world is made with this module
    from rosam_core.drives.synthetic.world import World

Bool = npt.NDArray[np.bool_]

CAMERA_CLEARANCE_M = 1.2
LOW_M = 0.3  # the camera may pass over what is lower: pavements
STEP_S = 0.25  # between two looks for collisions
GAP_M = 0.1  # closer traffic counts as colliding


def near_camera(world: World, clearance_m: float = CAMERA_CLEARANCE_M) -> Bool:
    """Finds what comes too close to the camera in any frame.

    Args:
        world: The street.
        clearance_m: Distance from the camera to the box around a part of an object [m].

    Returns:
        bool[n], one for each object.
    """
    shape, owner = world.shape, world.owner
    near = np.zeros(len(world.placed), dtype=bool)
    high = shape[:, 2] + shape[:, 6] > LOW_M
    for index in range(len(world)):
        eye = world.camera_pose(index)[:3, 3]
        poses = world.object_poses(index)[owner]
        c, s = np.cos(poses[:, 2]), np.sin(poses[:, 2])
        x, y = eye[0] - poses[:, 0], eye[1] - poses[:, 1]
        # In the object's frame, then from the middle of the part and turned with it.
        x, y = c * x + s * y - shape[:, 0], -s * x + c * y - shape[:, 1]
        c, s = np.cos(shape[:, 3]), np.sin(shape[:, 3])
        local = np.column_stack([c * x + s * y, -s * x + c * y, eye[2] - shape[:, 2]])
        outside = np.maximum(np.abs(local) - shape[:, 4:7], 0)
        near[owner[(np.linalg.norm(outside, axis=1) < clearance_m) & high]] = True
    return near


def colliding(world: World) -> Bool:
    """Finds traffic that has to go so that no two vehicles, cyclists or pedestrians ever overlap.

    Of two that would, what follows the camera's path stays, then a vehicle that moves, then one
    that stands, then people; of two equals the one placed first.

    Returns:
        bool[n], one for each object.
    """
    gone = np.zeros(len(world.placed), dtype=bool)
    agents = np.array([i for i, thing in enumerate(world.placed) if thing.is_traffic], dtype=int)
    if len(agents) < 2:
        return gone
    boxes = np.array([_footprint(world.placed[i]) for i in agents])
    rank = [_rank(world.placed[i]) for i in agents]
    reach = np.hypot(np.abs(boxes[:, :2]).max(1), boxes[:, 2])
    step = max(1, round(world.fps * STEP_S))
    for index in sorted({*range(0, len(world), step), len(world) - 1}):
        poses = world.object_poses(index)[agents]
        away = np.hypot(*(poses[:, None, :2] - poses[None, :, :2]).transpose(2, 0, 1))
        close = np.argwhere(np.triu(away < reach[:, None] + reach[None], 1))
        for a, b in close:
            if gone[agents[a]] or gone[agents[b]]:
                continue
            if _overlap(boxes[a], poses[a], boxes[b], poses[b]):
                gone[agents[a if rank[a] > rank[b] else b]] = True
    return gone


def _rank(thing: Placed) -> int:
    """Returns the order in which traffic gives way: the larger goes first."""
    if not any(part.kind == Kind.CAR_BODY for part in thing.parts):
        return 3
    return 0 if thing.on_path else 1 if thing.speed else 2


def _footprint(thing: Placed) -> tuple[float, float, float]:
    """Returns the rear, the front and the half width of an object in its own frame [m]."""
    rear = min(part.centre[0] - part.half[0] for part in thing.parts)
    front = max(part.centre[0] + part.half[0] for part in thing.parts)
    side = max(abs(part.centre[1]) + part.half[1] for part in thing.parts)
    return rear, front, side


def _corners(box: Float64, pose: Float64) -> Float64:
    rear, front, side = box + GAP_M / 2 * np.array([-1, 1, 1])
    local = np.array([(rear, -side), (front, -side), (front, side), (rear, side)])
    c, s = np.cos(pose[2]), np.sin(pose[2])
    return local @ np.array([[c, s], [-s, c]]) + pose[:2]


def _overlap(box_a: Float64, pose_a: Float64, box_b: Float64, pose_b: Float64) -> bool:
    """Returns whether two rectangles on the ground overlap: no axis separates them."""
    a, b = _corners(box_a, pose_a), _corners(box_b, pose_b)
    for angle in (pose_a[2], pose_b[2]):
        c, s = np.cos(angle), np.sin(angle)
        for axis in (np.array([c, s]), np.array([-s, c])):
            on_a, on_b = a @ axis, b @ axis
            if on_a.max() <= on_b.min() or on_b.max() <= on_a.min():
                return False
    return True
