"""A basket that the hand caught or knocked over."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.hand import OPEN, Hand
from lit_distill.teachers.shoving import shove

UPRIGHT = 0.75
"""Upward component of the axis of a basket from which on it stands up by itself."""
UPSIDE_DOWN = -0.5
LIFTED_M = 0.03


def set_right(scene: Scene, hand: Hand, basket: str, held: bool) -> np.ndarray | None:
    """Action [7] that lets go of a basket or stands it up; None if it stands where it should.

    One that lies on its side is pushed at the upper rim, against the way its opening points.

    Args:
        scene: view of the simulator's present state.
        hand: the hand.
        basket: LIBERO's name of the basket.
        held: whether the hand holds what goes into it.
    """
    extent = scene.extent(basket)
    if extent.bottom > scene.surface + LIFTED_M and scene.fingers_touching(basket):
        return hand.wait(OPEN)
    axis = scene.rotation(basket)[:, 2]
    if not UPSIDE_DOWN < axis[2] < UPRIGHT:
        return None
    if held:
        return hand.wait(OPEN)
    level = axis * [1.0, 1.0, 0.0]
    return shove(hand, extent, -level / np.linalg.norm(level))
