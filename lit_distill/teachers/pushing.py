"""Pushing an object out of where there is no room to take hold of it, with closed fingers beside it.

The fingers come down beside the object, their closing direction along the obstacle's side, and push it away
from the obstacle, or, if they do not fit between the two, along its side until it is past the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lit_distill.sim.scene import Extent
from lit_distill.teachers.hand import CLOSE, FINGERTIP_M, Hand
from lit_distill.teachers.room import PALM_HALF_DEPTH_M, closed_hand_clashes

FINGERS_HALF_M = 0.02
"""Half of what closed fingers measure along their closing direction, and a little play."""
FINGERS_HALF_DEPTH_M = 0.013
ABOVE_BOTTOM_M = 0.006
"""The fingertips' height above the object's bottom."""
CONTACT_M = 0.006
"""So far from the object's edge the fingers can still push."""
BEHIND_M = 0.01
"""Distance of the fingers from the object before they push."""
PUSH_M = 0.025
ALIGNED_M, BESIDE_M = 0.012, 0.02
ALIGNED_RAD = 0.2


@dataclass(frozen=True)
class Push:
    """One way to push an object.

    Attributes:
        start: grip site position [3] from which the fingers begin, m.
        direction: level unit vector [3] in which they push.
        axis: level unit vector [3] along which the closed fingers lie.
    """

    start: np.ndarray
    direction: np.ndarray
    axis: np.ndarray


def plan_push(
    target: np.ndarray, obstacle: np.ndarray, axes: Sequence[np.ndarray], boxes: np.ndarray
) -> Push | None:
    """The first push for which there is room: away from the obstacle, or along it past its nearer end.

    Args:
        target: corners [n, 3] of the object's boxes, m.
        obstacle: those of what leaves no room to take hold of it.
        axes: level unit vectors [3] along the obstacle's sides.
        boxes: corners [n, 8, 3] of the boxes around everything else, m.
    """
    sides = [sign * axis for axis in axes for sign in (1.0, -1.0)]
    away = max(sides, key=lambda side: float((target @ side).min() - (obstacle @ side).max()))
    along = np.array([-away[1], away[0], 0.0])
    if along @ (_middle(target) - _middle(obstacle)) < 0.0:
        along = -along
    for direction in (away, along, -along):
        push = Push(_start(target, obstacle, away, direction), direction, along)
        if not closed_hand_clashes(push.start, along, boxes).any():
            return push
    return None


def push(hand: Hand, target: Extent, plan: Push) -> np.ndarray | None:
    """Action [7] that goes on pushing or comes down to it; None while the hand is not above the start."""
    scene = hand.scene
    error = plan.start - scene.eef_position
    forwards = float(error @ plan.direction)
    aside = error - forwards * plan.direction - [0.0, 0.0, error[2]]
    yaw = hand.turn_to(plan.axis)
    if not hand.closed() or abs(yaw) > ALIGNED_RAD or np.linalg.norm(aside) > BESIDE_M:
        return None
    low = scene.eef_position[2] - FINGERTIP_M < target.top - CONTACT_M
    if low and forwards > -BEHIND_M - BESIDE_M:
        step = aside + plan.direction * PUSH_M + [0.0, 0.0, error[2]]
        return hand.servo(step, yaw, CLOSE, careful=False)
    if abs(forwards) < ALIGNED_M and np.linalg.norm(aside) < ALIGNED_M:
        return hand.servo(error, yaw, CLOSE, careful=False)
    return None


def _middle(corners: np.ndarray) -> np.ndarray:
    """Centre [3] of the world-aligned box around corners [n, 3]."""
    return np.asarray(0.5 * (corners.min(axis=0) + corners.max(axis=0)))


def _start(target: np.ndarray, obstacle: np.ndarray, away: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Grip site position [3] from which the fingers begin to push in a direction [3]."""
    behind = 0.5 * float(np.ptp(target @ direction)) + BEHIND_M
    behind += FINGERS_HALF_DEPTH_M if direction is away else FINGERS_HALF_M
    start = _middle(target) - direction * behind
    if direction is not away:  # keep the palm off the obstacle's side
        short = PALM_HALF_DEPTH_M - float(start @ away - (obstacle @ away).max())
        start += away * np.clip(short, 0.0, 0.5 * float(np.ptp(target @ away)) - CONTACT_M)
    start[2] = target[:, 2].min() + ABOVE_BOTTOM_M + FINGERTIP_M
    return start
