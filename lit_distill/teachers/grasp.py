"""What taking hold of an object means for a hand that points down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Grasp:
    """Where to close the fingers.

    Attributes:
        position: grip site position [3], m, world.
        axis: unit vector [3] along which the fingers close, horizontal.
        width: what the fingers close on along the axis, m.
        penalty: radians of turning that it would be worth to have another one instead.
        turn_after: turn (rad, world z) that the hand will make with the object in hand.
    """

    position: np.ndarray
    axis: np.ndarray
    width: float
    penalty: float = 0.0
    turn_after: float = 0.0
