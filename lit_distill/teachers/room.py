"""Whether there is room for the hand where a grasp wants it."""

from __future__ import annotations

import numpy as np

from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.hand import FINGERTIP_M, HAND_HALF_DEPTH_M, HAND_HALF_WIDTH_M, PALM_M

FINGERS_M = ((0.03, 0.055), (-0.055, -0.03))
"""Where the open fingers are along the direction in which they close."""
FINGER_HALF_DEPTH_M = 0.011
CLOSED_HALF_WIDTH_M = 0.018
"""Half of what the closed fingers measure along the direction in which they close."""
PALM_HALF_DEPTH_M = 0.033
"""Half the palm's depth without any margin."""


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
