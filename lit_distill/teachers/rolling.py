"""Rolling what lies on its side over by a face, where the hand cannot lean as its present grasp asks."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Extent
from lit_distill.teachers.hand import CLOSE, FINGERTIP_M, Hand
from lit_distill.teachers.pressing import Stroke

BEHIND_M = 0.01
"""The fingertips press so far behind the middle of the top."""
PRESSING_M, PRESSED_M = 0.04, 0.008
"""Fingertips so near to the middle and so little above the top press."""
STROKE = Stroke(hover=0.03, press=0.05, onwards=0.04)
"""With less pressure they slip off."""


def roll(hand: Hand, target: Extent, towards: np.ndarray) -> np.ndarray:
    """Action [7] that presses closed fingers on a thing's top and draws them in a level direction.

    Args:
        hand: the hand.
        target: box of the thing, m.
        towards: level unit vector [3].
    """
    offset = _offset(hand, target) - BEHIND_M * towards
    way = STROKE.way(offset, towards, presses(hand, target), hand.closed_on_nothing())
    return hand.servo(way, 0.0, CLOSE, careful=False)


def presses(hand: Hand, target: Extent) -> bool:
    """Whether closed fingers are on a thing's top."""
    offset = _offset(hand, target)
    return bool(
        hand.closed_on_nothing() and np.linalg.norm(offset[:2]) < PRESSING_M and offset[2] > -PRESSED_M
    )


def _offset(hand: Hand, target: Extent) -> np.ndarray:
    """Way [3] of the fingertips to the middle of a thing's top."""
    tips = hand.scene.eef_position + FINGERTIP_M * hand.scene.eef_rotation[:, 2]
    return np.array([*target.centre[:2], target.top]) - tips
