"""What taking hold of an object means for a hand that comes from above."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

DOWN = np.array([0.0, 0.0, -1.0])


@dataclass(frozen=True)
class Grasp:
    """Where to close the fingers.

    Attributes:
        position: grip site position [3], m, world.
        axis: unit vector [3] along which the fingers close, as level as the approach lets it be.
        width: what the fingers close on along the axis, m.
        penalty: radians of turning that it would be worth to have another one instead.
        turn_after: turn (rad, world z) that the hand will make with the object in hand.
        approach: unit vector [3] in which the hand points and comes; it may lean away from straight down.
    """

    position: np.ndarray
    axis: np.ndarray
    width: float
    penalty: float = 0.0
    turn_after: float = 0.0
    approach: np.ndarray = field(default_factory=lambda: DOWN)

    @property
    def leans(self) -> bool:
        """Whether the hand does not come straight from above."""
        return self.approach is not DOWN

    def on_the_way(self, height: float) -> np.ndarray:
        """Grip site position [3] at a height (m) on the straight way to the grasp."""
        return self.position + self.approach * (height - self.position[2]) / self.approach[2]
