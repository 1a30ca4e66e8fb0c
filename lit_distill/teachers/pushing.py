"""Pushing an object out of where there is no room to take hold of it, with closed fingers beside it.

The fingers come down beside the object, their closing direction along the obstacle's side, and push it away
from the obstacle, or, if they do not fit between the two, along its side until it is past the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lit_distill.sim.scene import Extent
from lit_distill.teachers.grasp import DOWN
from lit_distill.teachers.hand import CLOSE, FINGERTIP_M, Hand
from lit_distill.teachers.room import closed_hand_clashes

FINGERS_HALF_M = 0.02
"""Half of what closed fingers measure along their closing direction, and a little play."""
FINGERS_HALF_DEPTH_M = 0.013
ABOVE_BOTTOM_M = 0.006
"""The fingertips' height above the object's bottom."""
CONTACT_M = 0.006
"""So far from the object's edge the fingers can still push."""
BEHIND_M = 0.01
"""Distance of the fingers from the object before they push."""
PUSH_M, TOUCHES_M = 0.025, 0.015
"""How far ahead they are sent, and how far from the start they have met the object."""
ALIGNED_M, BESIDE_M = 0.012, 0.02
ALIGNED_RAD, ALIGNED_TILT_RAD = 0.2, 0.2
LEAN_RAD, LOW_M = 0.4, 0.03
"""How far a hand leans that pushes beside a wall, and the height up to which things are below its palm."""


@dataclass(frozen=True)
class Push:
    """One way to push an object.

    Attributes:
        start: grip site position [3] from which the fingers begin, m.
        direction: level unit vector [3] in which they push.
        axis: level unit vector [3] along which the closed fingers lie.
        approach: unit vector [3] in which the hand points, at a right angle to the axis.
        turn_after: as in `Grasp`.
        onwards: so far from the start the fingers still push, m.
        beside: so far beside the straight way they still push, m.
        rise: once they have met the object they are sent up by this share of what they are sent ahead;
            None: they stay as low as at the start.
    """

    start: np.ndarray
    direction: np.ndarray
    axis: np.ndarray
    approach: np.ndarray = field(default_factory=lambda: DOWN)
    turn_after: float = 0.0
    onwards: float = BEHIND_M + BESIDE_M
    rise: float | None = None
    beside: float = BESIDE_M


def plan_push(
    target: np.ndarray,
    obstacle: np.ndarray,
    axes: Sequence[np.ndarray],
    boxes: np.ndarray,
    reached: Callable[[np.ndarray, np.ndarray], bool],
) -> Push | None:
    """The first push for which there is room: away from the obstacle, or along it past its nearer end.

    Along it the hand leans away from it, and away from it too where it would not fit otherwise.

    Args:
        target: corners [n, 3] of the object's boxes, m.
        obstacle: those of what leaves no room to take hold of it.
        axes: level unit vectors [3] along the obstacle's sides.
        boxes: corners [n, 8, 3] of the boxes around everything else, m.
        reached: whether the hand can push at a grip site position [3], pointing in a direction [3].
    """
    sides = [sign * axis for axis in axes for sign in (1.0, -1.0)]
    away = max(sides, key=lambda side: float((target @ side).min() - (obstacle @ side).max()))
    along = np.array([-away[1], away[0], 0.0])
    if along @ (_middle(target) - _middle(obstacle)) < 0.0:
        along = -along
    leaning = np.cos(LEAN_RAD) * DOWN - np.sin(LEAN_RAD) * away
    ways = [(away, DOWN), (along, leaning), (-along, leaning)]
    if np.ptp(target[:, 2]) < LOW_M:
        ways.insert(1, (away, leaning))
    for direction, approach in ways:
        push = Push(_start(target, direction, along, approach), direction, along, approach)
        if (
            reached(push.start, approach)
            and not closed_hand_clashes(push.start, along, boxes, approach).any()
        ):
            return push
    return None


def push(hand: Hand, target: Extent, plan: Push) -> np.ndarray | None:
    """Action [7] that goes on pushing or comes down to it; None while the hand is not above the start."""
    scene = hand.scene
    error = plan.start - scene.eef_position
    down = plan.approach * (error[2] / plan.approach[2])
    error = error - down  # to the straight way on which the hand comes
    forwards = float(error @ plan.direction)
    aside = error - forwards * plan.direction
    yaw = hand.turn_to(plan.axis, plan.turn_after)
    tilted = plan.approach is DOWN or np.linalg.norm(hand.tilt(plan.approach)) < ALIGNED_TILT_RAD
    turned = abs(yaw) < ALIGNED_RAD and tilted
    if not hand.closed() or not turned or np.linalg.norm(aside) > plan.beside:
        return None
    low = scene.eef_position[2] - FINGERTIP_M < target.top - CONTACT_M
    if plan.rise is not None and forwards > -TOUCHES_M:
        low = float(np.linalg.norm(down)) < TOUCHES_M
    if low and forwards > -plan.onwards:
        step = aside + plan.direction * PUSH_M + down
        if plan.rise is not None and forwards < -TOUCHES_M:
            step[2] = plan.rise * PUSH_M
        return hand.servo(step, yaw, CLOSE, careful=False, approach=plan.approach)
    if abs(forwards) < ALIGNED_M and np.linalg.norm(aside) < ALIGNED_M:
        return hand.servo(error + down, yaw, CLOSE, careful=False, approach=plan.approach)
    return None


def _middle(corners: np.ndarray) -> np.ndarray:
    """Centre [3] of the world-aligned box around corners [n, 3]."""
    return np.asarray(0.5 * (corners.min(axis=0) + corners.max(axis=0)))


def _start(target: np.ndarray, direction: np.ndarray, axis: np.ndarray, approach: np.ndarray) -> np.ndarray:
    """Grip site position [3] from which the fingers, along a level axis [3], begin to push."""
    behind = 0.5 * float(np.ptp(target @ direction)) + BEHIND_M
    behind += FINGERS_HALF_M if abs(float(axis @ direction)) > 0.5 else FINGERS_HALF_DEPTH_M
    start = _middle(target) - direction * behind - FINGERTIP_M * approach
    start[2] += target[:, 2].min() + ABOVE_BOTTOM_M - _middle(target)[2]
    return start
