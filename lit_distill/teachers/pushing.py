"""Pushing an object out of where there is no room to take hold of it, with closed fingers beside it.

The fingers come down beside the object, their closing direction along the obstacle's side, and push it away
from the obstacle, or, if they do not fit between the two, along its side until it is past the end.
"""

from __future__ import annotations

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


def plan_push(target: Extent, obstacle: Extent, boxes: np.ndarray) -> Push | None:
    """The first push for which there is room: away from the obstacle, or along it past its nearer end.

    Args:
        target: the object's box.
        obstacle: box of what leaves no room to take hold of it.
        boxes: corners [n, 8, 3] of the boxes around everything else, m.
    """
    away = _away(target, obstacle)
    along = np.array([-away[1], away[0], 0.0])
    if along @ (target.centre - obstacle.centre) < 0.0:
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


def _away(target: Extent, obstacle: Extent) -> np.ndarray:
    """Level unit vector [3] along x or y in which an object leaves an obstacle soonest."""
    gap = np.concatenate([target.low[:2] - obstacle.high[:2], obstacle.low[:2] - target.high[:2]])
    side = int(np.argmax(gap))
    direction = np.zeros(3)
    direction[side % 2] = 1.0 if side < 2 else -1.0
    return direction


def _start(target: Extent, obstacle: Extent, away: np.ndarray, direction: np.ndarray) -> np.ndarray:
    half = 0.5 * (target.high - target.low)
    behind = float(np.abs(direction) @ half) + BEHIND_M
    behind += FINGERS_HALF_DEPTH_M if direction is away else FINGERS_HALF_M
    start = target.centre - direction * behind
    if direction is not away:  # keep the palm off the obstacle's side
        side = np.where(away > 0.0, obstacle.high, obstacle.low)
        short = PALM_HALF_DEPTH_M - float((start - side) @ np.abs(away)) * float(away.sum())
        start += away * np.clip(short, 0.0, float(np.abs(away) @ half) - CONTACT_M)
    start[2] = target.bottom + ABOVE_BOTTOM_M + FINGERTIP_M
    return start
