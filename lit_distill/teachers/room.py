"""Whether there is room for the hand where a grasp wants it."""

from __future__ import annotations

import numpy as np

from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.hand import FINGERTIP_M, HAND_HALF_DEPTH_M, HAND_HALF_WIDTH_M, PALM_M

FINGERS_M = ((0.03, 0.055), (-0.055, -0.03))
"""Where the open fingers are along the direction in which they close."""
FINGER_HALF_DEPTH_M = 0.011


def clashes(grasp: Grasp, boxes: np.ndarray) -> int:
    """Count the boxes that the open hand would hit at a grasp, or coming straight down to it.

    Args:
        grasp: the grasp.
        boxes: corners [n, 8, 3] of the boxes around what is in the way, m, world.
    """
    across = np.array([-grasp.axis[1], grasp.axis[0], 0.0])
    frame = np.stack([grasp.axis, across, np.array([0.0, 0.0, 1.0])], axis=1)
    relative = (boxes - grasp.position) @ frame  # [n, 8, 3]: along the axis, across it, up
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
