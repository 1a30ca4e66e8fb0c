"""Dragging an object away from what leaves no room for the hand: pressed from above it slides along.

The fingers stay closed. They press on the half of the object's top that is farther from the obstacle and
move away from it, as deep as an offset below the top lets them press.
"""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Extent
from lit_distill.teachers.hand import CLOSE, FINGERTIP_M, Hand

FROM_EDGE_M = 0.012
"""Distance from the object's far edge at which the fingertips press."""
PRESS_M = 0.012
"""The fingertips are sent so far below the object's top."""
PULL_M = 0.02
TOUCHING_M = 0.008
ON_TOP_M = 0.02
HOVER_M = 0.03


def away_from(target: Extent, obstacle: Extent) -> np.ndarray:
    """Level unit vector [3] along x or y in which an object leaves an obstacle soonest."""
    gap = np.concatenate([target.low[:2] - obstacle.high[:2], obstacle.low[:2] - target.high[:2]])
    side = int(np.argmax(gap))
    direction = np.zeros(3)
    direction[side % 2] = 1.0 if side < 2 else -1.0
    return direction


def pressing_point(target: Extent, away: np.ndarray) -> np.ndarray:
    """Where the grip site is [3] when the fingertips rest on the object's top."""
    half = 0.5 * float(np.abs(away) @ (target.high - target.low))
    point = target.centre + away * max(0.0, half - FROM_EDGE_M)
    point[2] = target.top + FINGERTIP_M
    return point


def drag(hand: Hand, target: Extent, away: np.ndarray) -> np.ndarray | None:
    """Action [7] that goes on dragging, or comes down to it; None as long as the hand is not above the point.

    Args:
        hand: the hand, closed or closing.
        target: the object's box.
        away: unit vector [3] in which it is to move, along x or y.
    """
    scene = hand.scene
    error = pressing_point(target, away) - scene.eef_position
    along, across = float(error @ away), float(np.linalg.norm(np.cross(error, away)[2]))
    on_top = abs(along) < ON_TOP_M and across < ON_TOP_M
    if not on_top or not hand.closed():
        return None
    yaw = hand.turn_to(np.array([-away[1], away[0], 0.0]))
    if error[2] < -TOUCHING_M:
        return hand.servo(error - [0.0, 0.0, PRESS_M], yaw, CLOSE)
    pull = error + away * (PULL_M - along)
    pull[2] = error[2] - PRESS_M
    return hand.servo(pull, yaw, CLOSE, careful=False)
