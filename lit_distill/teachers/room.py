"""Whether there is room for the hand where a grasp wants it: its boxes against others, by separating axes."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import CORNER_SIGNS
from lit_distill.teachers.grasp import DOWN, Grasp
from lit_distill.teachers.hand import FINGERTIP_M, HAND_HALF_DEPTH_M, HAND_HALF_WIDTH_M, PALM_M
from lit_distill.teachers.vectors import TURNS, cross

FINGERS_M = (0.03, 0.055)
"""Where an open finger is along the direction in which it closes."""
FINGER_HALF_DEPTH_M, FINGER_LENGTH_M = 0.011, 0.05
CLOSED_HALF_WIDTH_M = 0.018
"""Half of what the closed fingers measure along the direction in which they close."""
NARROW_HALF_DEPTH_M, BODY_M = 0.025, 0.066
"""Half the depth of the palm up to where the hand's wider body begins, with a margin of 4 mm."""
PALM_HALF_DEPTH_M = 0.033
"""Half the body's depth without any margin."""
WAY_M = 0.5
"""Length of the straight way on which the hand comes."""


def clashes(grasp: Grasp, boxes: np.ndarray, half_width: float = HAND_HALF_WIDTH_M) -> np.ndarray:
    """Which boxes [n] the open hand would hit at a grasp, or on its straight way to it: bool.

    Args:
        grasp: the grasp.
        boxes: corners [n, 8, 3] of the boxes around what is in the way, m, world, in `CORNER_SIGNS`' order.
        half_width: half the hand's width along the direction in which it closes, m.
    """
    frame = np.stack([grasp.axis, cross(grasp.axis, grasp.approach), -grasp.approach], axis=1)
    inner, outer = FINGERS_M
    fingers = [(inner, outer, FINGER_HALF_DEPTH_M), (-outer, -inner, FINGER_HALF_DEPTH_M)]
    return _hits(_parts(half_width, HAND_HALF_DEPTH_M, fingers), (boxes - grasp.position) @ frame)


def closed_hand_clashes(
    position: np.ndarray, axis: np.ndarray, boxes: np.ndarray, approach: np.ndarray = DOWN
) -> np.ndarray:
    """Which boxes [n, 8, 3] the closed hand would hit at a position [3], or on its straight way: bool [n]."""
    frame = np.stack([axis, cross(axis, approach), -approach], axis=1)
    fingers = [(-CLOSED_HALF_WIDTH_M, CLOSED_HALF_WIDTH_M, FINGER_HALF_DEPTH_M)]
    return _hits(_parts(HAND_HALF_WIDTH_M, PALM_HALF_DEPTH_M, fingers), (boxes - position) @ frame)


def _parts(half_width: float, half_depth: float, fingers: list[tuple[float, float, float]]) -> np.ndarray:
    """Low and high corners [parts, 2, 3] of the hand's boxes: along the axis, across it, back from the tips.

    Args:
        half_width: half the hand's width, m.
        half_depth: half its body's depth, m.
        fingers: start and end along the axis, and half the depth, of each finger, m.
    """
    corners = [[[a, -d, -FINGERTIP_M], [b, d, FINGER_LENGTH_M]] for a, b, d in fingers]
    corners.append([[-half_width, -NARROW_HALF_DEPTH_M, PALM_M], [half_width, NARROW_HALF_DEPTH_M, BODY_M]])
    corners.append([[-half_width, -half_depth, BODY_M], [half_width, half_depth, WAY_M]])
    return np.array(corners)


def _hits(parts: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which boxes [n, 8, 3] overlap any of the parts [parts, 2, 3], whose frame they are in: bool [n]."""
    low, high = boxes.min(axis=1)[:, None], boxes.max(axis=1)[:, None]
    near = ((low < parts[:, 1]) & (high > parts[:, 0])).all(axis=2)  # [n, parts]: by the parts' own axes
    hit = near.any(axis=1)
    few = np.flatnonzero(hit)
    if len(few):
        hit[few] = (near[few] & _overlaps(parts, boxes[few])).any(axis=1)
    return np.asarray(hit)


def _overlaps(parts: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether no axis but the parts' own separates boxes [n, 8, 3] and parts [p, 2, 3]: bool [n, p]."""
    edges = np.einsum("ka,nkd->nad", CORNER_SIGNS / 8.0, boxes)  # half the boxes' edges [n, 3, 3]
    crossed = np.einsum("iab,njb->nija", TURNS, edges).reshape(-1, 9, 3)
    axes = np.concatenate([edges, crossed], axis=1)  # [n, 12, 3]
    middles, halves = 0.5 * parts.sum(axis=1), 0.5 * (parts[:, 1] - parts[:, 0])
    apart = np.einsum("nad,nd->na", axes, boxes.mean(axis=1))[..., None] - axes @ middles.T
    reach = np.abs(axes @ edges.transpose(0, 2, 1)).sum(axis=2)[..., None] + np.abs(axes) @ halves.T
    return np.asarray((np.abs(apart) <= reach + 1e-12).all(axis=1))
