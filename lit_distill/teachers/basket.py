"""A basket that the hand caught or knocked over."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.hand import CLOSE, FINGERTIP_M, OPEN, Hand
from lit_distill.teachers.vectors import cross

UPRIGHT = 0.75
"""Upward component of the axis of a basket from which on it stands up by itself."""
UPSIDE_DOWN = -0.5
LIFTED_M, WIDE_M = 0.07, 0.06
"""A basket so high above the surface, which is known to 4 cm only, hangs on the hand; fingers further apart
than this may press outwards."""
BELOW_RIM_M, BEHIND_M = 0.02, 0.03
"""Where the fingertips push a basket that lies on its side: below its upper rim, from so far before it."""
ALIGNED_M, BESIDE_M, PAST_M = 0.015, 0.03, 0.12
HOVER_M, PUSH_M = 0.03, 0.06
LOWER = np.array([0.0, 0.0, -0.03])


def set_right(scene: Scene, hand: Hand, basket: str, held: bool) -> np.ndarray | None:
    """Action [7] that lets go of a basket or stands it up; None if it stands where it should.

    Args:
        scene: view of the simulator's present state.
        hand: the hand.
        basket: LIBERO's name of the basket.
        held: whether the hand holds what goes into it, or has not wholly let go of it.
    """
    rotation = scene.rotation(basket)
    lies = UPSIDE_DOWN < rotation[2, 2] < UPRIGHT
    lifted = scene.extent(basket).bottom > scene.surface + LIFTED_M
    if lifted and (lies or scene.fingers_touching(basket)):
        return hand.servo(LOWER, 0.0, CLOSE if scene.opening > WIDE_M else OPEN)
    if not lies:
        return None
    return hand.wait(OPEN) if held else _stand_up(scene, hand, basket, rotation)


def _stand_up(scene: Scene, hand: Hand, basket: str, rotation: np.ndarray) -> np.ndarray:
    """Push the upper rim of a basket that lies on its side against the way its opening points."""
    position, corners = scene.eef_position, scene.corners(basket)
    axis = rotation[:, 2]
    wall = max((*rotation.T[:2], *-rotation.T[:2]), key=lambda side: float(side[2]))
    directions = np.stack([axis, wall, cross(axis, wall)])
    reaches = corners @ directions.T
    middle = 0.5 * (reaches.min(axis=0) + reaches.max(axis=0))
    rim = np.array([reaches[:, 0].max(), reaches[:, 1].max(), middle[2]]) @ directions
    inwards = np.array([-axis[0], -axis[1], 0.0]) / np.linalg.norm(axis[:2])
    start = rim - BEHIND_M * inwards
    start[2] = rim[2] - BELOW_RIM_M + FINGERTIP_M
    error = start - position
    forwards = float(error @ inwards)
    aside = error - forwards * inwards - [0.0, 0.0, error[2]]
    off, closed = float(np.linalg.norm(aside)), hand.closed_on_nothing()
    low = position[2] - FINGERTIP_M < rim[2]
    if closed and low and off < BESIDE_M and -PAST_M < forwards < BESIDE_M:
        return hand.servo(aside + PUSH_M * inwards + [0.0, 0.0, error[2]], 0.0, CLOSE, careful=False)
    if closed and max(off, abs(forwards)) < ALIGNED_M:
        return hand.servo(error, 0.0, CLOSE)
    over = rim[2] + FINGERTIP_M + HOVER_M - position[2]
    share = min(max(1.0 - (over - 0.5 * HOVER_M) / HOVER_M, 0.0), 1.0)
    return hand.servo(np.array([*(share * error[:2]), over]), 0.0, OPEN if low and not closed else CLOSE)
