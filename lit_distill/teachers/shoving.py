"""Shoving with closed fingers: a mug out of the way of a grasp, a leaning carton into its basket."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Extent
from lit_distill.teachers.hand import CLOSE, FINGERTIP_M, OPEN, Hand

BELOW_TOP_M = 0.02
"""How far the fingertips reach below its top; the palm stays above it."""
BEHIND_M, FINGERS_HALF_M = 0.012, 0.02
"""Distance of the fingers from it before they push, and half of what they measure."""
ALIGNED_M, BESIDE_M = 0.012, 0.025
HOVER_M, PUSH_M = 0.03, 0.03
DEEP_IN_M, SLANTING = 0.03, 0.3
"""What leans has its lower end so far below the rim; level share of an axis that has a direction."""


def shove(hand: Hand, extent: Extent, away: np.ndarray) -> np.ndarray:
    """Action [7] that comes down beside a thing with closed fingers and shoves it in a level direction.

    Args:
        hand: the hand.
        extent: box of the thing, m.
        away: level unit vector [3].
    """
    position = hand.scene.eef_position
    half = 0.5 * (extent.high - extent.low)
    start = extent.centre - (float(np.abs(away) @ half) + BEHIND_M + FINGERS_HALF_M) * away
    start[2] = extent.top - BELOW_TOP_M + FINGERTIP_M
    error = start - position
    forwards = float(error @ away)
    aside = error - forwards * away - [0.0, 0.0, error[2]]
    closed, off = hand.closed_on_nothing(), float(np.linalg.norm(aside))
    low = position[2] - FINGERTIP_M < extent.top
    if closed and low and off < BESIDE_M and forwards > -BEHIND_M - BESIDE_M - FINGERS_HALF_M:
        return hand.servo(aside + PUSH_M * away + [0.0, 0.0, error[2]], 0.0, CLOSE, careful=False)
    if closed and max(off, abs(forwards)) < ALIGNED_M:
        return hand.servo(error, 0.0, CLOSE)
    over = extent.top + FINGERTIP_M + HOVER_M - position[2]
    share = np.clip(1.0 - (over - 0.5 * HOVER_M) / HOVER_M, 0.0, 1.0)
    gripper = OPEN if low and not closed else CLOSE  # above it first: between open fingers it would be held
    return hand.servo(np.array([*(share * error[:2]), over]), 0.0, gripper)


def from_raised_end(extent: Extent, axis: np.ndarray, rim: float) -> np.ndarray | None:
    """Level unit vector [3] from the raised end of what leans in a container, None if it does not.

    Args:
        extent: box of what leans, m.
        axis: its long axis [3], either way round.
        rim: height of the container's rim, m.
    """
    level = -np.sign(axis[2]) * axis * [1.0, 1.0, 0.0]
    length = float(np.linalg.norm(level))
    if extent.top < rim or extent.bottom > rim - DEEP_IN_M or length < SLANTING:
        return None
    return np.asarray(level / length)


def along_rim(offset: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Level unit vector [3] along what lies across a container's rim, towards its end that overhangs more.

    Args:
        offset: of its middle from the container's [3], m.
        axis: its long axis [3], either way round.
    """
    level = axis * [1.0, 1.0, 0.0]
    level /= max(float(np.linalg.norm(level)), 1e-9)
    return np.asarray(level if offset @ level >= 0.0 else -level)
