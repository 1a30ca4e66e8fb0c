"""Where an object is to be put: what a goal's region or receptacle asks of a placement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lit_distill.sim.scene import Extent, Scene

CARRY_CLEARANCE_M = 0.035
RELEASE_ABOVE_RIM_M = 0.01
OVER_CONTAINER_M = 0.025
WALL_M = 0.02
"""Wall of a basket (1.3 cm) and some play."""
INSIDE_M = 0.01
"""How far within the wall the inner end of an object that is too long comes down."""


@dataclass(frozen=True)
class Placement:
    """How to bring a held object to its destination from above.

    Attributes:
        position: where to let go [3], m, world: centre x, y and bottom z of the object's box. A hand that
            cannot go that low (`lowest_hand`) lets go above it.
        carry_height: height of the object's bottom while it travels.
        tolerance: horizontal distance (m) from which it is lowered.
        lowest_hand: the grip site must not go below this height.
        axis: horizontal direction [3] that the fingers must close along, None if any will do.
    """

    position: np.ndarray
    carry_height: float
    tolerance: float
    lowest_hand: float
    axis: np.ndarray | None = None


class Destination(Protocol):
    """Where one object is to be put."""

    def reached(self) -> bool:
        """Whether the goal's predicate holds."""
        ...

    def placement(self) -> Placement:
        """How to bring the object there, in the present state."""
        ...


class OpenContainer:
    """An open-topped container such as a basket: let go over its middle, low.

    Args:
        scene: view of the simulator's present state.
        target: LIBERO's name of the object to be put there.
        container: LIBERO's name of the container.
        region: the goal's region, as in the BDDL file.
    """

    def __init__(self, scene: Scene, target: str, container: str, region: str) -> None:
        self.scene, self.target, self.container, self.region = scene, target, container, region

    def reached(self) -> bool:
        """Whether the object is in the region; see `Destination`."""
        return self.scene.met(["in", self.target, self.region])

    def placement(self) -> Placement:
        """Over the middle, as low as the hand can go between the walls; see `Destination`.

        An object that is too long to lie between the walls is let go so far to the side that it tips in.
        """
        extent = self.scene.extent(self.container)
        return Placement(
            position=np.array([*(extent.centre[:2] + self._aside(extent)), extent.bottom]),
            carry_height=extent.top + CARRY_CLEARANCE_M,
            tolerance=OVER_CONTAINER_M,
            lowest_hand=extent.top + RELEASE_ABOVE_RIM_M,
        )

    def _aside(self, container: Extent) -> np.ndarray:
        """Offset [2] from the middle at which one end of the object clears the wall, 0 if both do."""
        target = self.scene.extent(self.target)
        inner = 0.5 * (container.high - container.low)[:2] - WALL_M
        too_long = 0.5 * (target.high - target.low)[:2] - inner
        if too_long.max() <= 0.0:
            return np.zeros(2)
        axis = self.scene.long_axis(self.target)[:2]
        along = axis / max(float(np.linalg.norm(axis)), 1e-9)
        shift = max((too_long + INSIDE_M) / np.maximum(np.abs(along), 0.3))
        towards_target = np.sign(along @ (target.centre - container.centre)[:2]) or 1.0
        return along * towards_target * min(shift, float(inner.min()))
