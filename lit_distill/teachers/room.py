"""Whether there is room for the hand where a grasp wants it."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.hand import FINGERTIP_M, HAND_HALF_DEPTH_M, HAND_HALF_WIDTH_M, PALM_M

FINGERS_M = ((0.03, 0.055), (-0.055, -0.03))
"""Where the open fingers are along the direction in which they close."""
FINGER_HALF_DEPTH_M = 0.011
CLOSED_HALF_WIDTH_M = 0.018
"""Half of what the closed fingers measure along the direction in which they close."""
PALM_HALF_DEPTH_M = 0.033
"""Half the palm's depth without any margin."""

_FINGERS = [(x, y, z) for x in (0.042, 0.053, 0.064) for y in (-0.011, 0.011) for z in (-0.008, 0.012)]
_PALM = [(x, y, -PALM_M) for x in (0.0, 0.05, 0.1) for y in (-0.032, 0.032)]
HAND_M = np.array([(sign * x, y, z) for x, y, z in (*_FINGERS, *_PALM) for sign in (-1.0, 1.0)])
"""Points on the open hand: along the direction in which it closes, across it, along the approach."""


def clashes(grasp: Grasp, boxes: np.ndarray, half_width: float = HAND_HALF_WIDTH_M) -> np.ndarray:
    """Which boxes [n] the open hand would hit at a grasp, or on its straight way to it: bool.

    Args:
        grasp: the grasp.
        boxes: corners [n, 8, 3] of the boxes around what is in the way, m, world.
        half_width: half the hand's width along the direction in which it closes, m.
    """
    frame = np.stack([grasp.axis, cross(grasp.axis, grasp.approach), -grasp.approach], axis=1)
    relative = (boxes - grasp.position) @ frame  # [n, 8, 3]: along the axis, across it, back
    low, high = relative.min(axis=1), relative.max(axis=1)
    hit = _overlaps(low, high, -half_width, half_width, HAND_HALF_DEPTH_M, PALM_M)
    for inner, outer in FINGERS_M:
        hit |= _overlaps(low, high, inner, outer, FINGER_HALF_DEPTH_M, -FINGERTIP_M)
    return np.asarray(hit)


def closed_hand_clashes(position: np.ndarray, axis: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which boxes [n, 8, 3] the closed hand would hit at a position [3], pointing down: bool [n]."""
    across = np.array([-axis[1], axis[0], 0.0])
    relative = (boxes - position) @ np.stack([axis, across, np.array([0.0, 0.0, 1.0])], axis=1)
    low, high = relative.min(axis=1), relative.max(axis=1)
    palm = _overlaps(low, high, -HAND_HALF_WIDTH_M, HAND_HALF_WIDTH_M, PALM_HALF_DEPTH_M, PALM_M)
    fingers = _overlaps(
        low, high, -CLOSED_HALF_WIDTH_M, CLOSED_HALF_WIDTH_M, FINGER_HALF_DEPTH_M, -FINGERTIP_M
    )
    return np.asarray(palm | fingers)


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product of two vectors [3], ten times as fast as numpy's for a single pair."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _overlaps(
    low: np.ndarray, high: np.ndarray, start: float, end: float, half_depth: float, bottom: float
) -> np.ndarray:
    return (
        (low[:, 0] < end)
        & (high[:, 0] > start)
        & (np.abs(low[:, 1] + high[:, 1]) < (high[:, 1] - low[:, 1]) + 2 * half_depth)
        & (high[:, 2] > bottom)
    )


def points_inside(scene: Scene, names: list[str], positions: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """How many of the points `HAND_M` of hands that may point anywhere are inside things.

    Args:
        scene: view of the simulator's present state.
        names: LIBERO's names of the things; each counts as the boxes around its collision geoms.
        positions: grip site positions [n, 3], m.
        rotations: orientations [n, 3, 3], as `Scene.eef_rotation`.

    Returns:
        Counts [n], int.
    """
    points = (positions[:, None] + HAND_M @ rotations.transpose(0, 2, 1)).reshape(-1, 3)
    inside = np.zeros(len(points), dtype=bool)
    for name in names:
        centres, frames, halves = scene.boxes(name)
        local = np.einsum("pi,bij->bpj", points, frames) - np.einsum("bi,bij->bj", centres, frames)[:, None]
        inside |= (np.abs(local) < halves[:, None]).all(axis=-1).any(axis=0)
    return inside.reshape(len(positions), -1).sum(axis=1)
