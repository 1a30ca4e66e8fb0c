"""Whether there is room for the hand where a grasp wants it."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.hand import FINGERTIP_M, HAND_HALF_DEPTH_M, HAND_HALF_WIDTH_M, PALM_M

FINGERS_M = ((0.03, 0.055), (-0.055, -0.03))
"""Where the open fingers are along the direction in which they close."""
FINGER_HALF_DEPTH_M = 0.011

_FINGERS = [(x, y, z) for x in (0.042, 0.053, 0.064) for y in (-0.011, 0.011) for z in (-0.008, 0.012)]
_PALM = [(x, y, -PALM_M) for x in (0.0, 0.05, 0.1) for y in (-0.032, 0.032)]
HAND_M = np.array([(sign * x, y, z) for x, y, z in (*_FINGERS, *_PALM) for sign in (-1.0, 1.0)])
"""Points on the open hand: along the direction in which it closes, across it, along the approach."""


def clashes(grasp: Grasp, boxes: np.ndarray) -> int:
    """Count the boxes that the open hand would hit at a grasp, or on its straight way to it.

    Args:
        grasp: the grasp.
        boxes: corners [n, 8, 3] of the boxes around what is in the way, m, world.
    """
    frame = np.stack([grasp.axis, np.cross(grasp.axis, grasp.approach), -grasp.approach], axis=1)
    relative = (boxes - grasp.position) @ frame  # [n, 8, 3]: along the axis, across it, back
    low, high = relative.min(axis=1), relative.max(axis=1)
    hit = _overlaps(low, high, -HAND_HALF_WIDTH_M, HAND_HALF_WIDTH_M, HAND_HALF_DEPTH_M, PALM_M)
    for inner, outer in FINGERS_M:
        hit |= _overlaps(low, high, inner, outer, FINGER_HALF_DEPTH_M, -FINGERTIP_M)
    return int(hit.sum())


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
