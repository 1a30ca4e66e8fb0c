"""Putting something that is in the hand aside, where it stands in nothing's way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lit_distill.sim.scene import Extent, Scene
from lit_distill.teachers.destinations import CARRY_CLEARANCE_M, Placement

REACHES_M = np.arange(0.45, 0.71, 0.05)
ANGLES_RAD = np.radians(np.arange(-45.0, 46.0, 7.5))
"""Distance and direction from the robot's base of the places on the table that are considered."""
MARGIN_M = 0.025
ABOVE_SURFACE_M = 0.005
DOWN_WITHIN_M = 0.02


class FreePlace:
    """The free place on the table that is nearest to the object; see `destinations.Destination`.

    Args:
        scene: view of the simulator's present state.
        target: LIBERO's name of the object to be put there.
        keep_clear: world-aligned box, in the present state, that has to stay free besides.
        margin: room around the object, m.
        reaches: distances from the robot's base that are considered, m.
    """

    def __init__(
        self,
        scene: Scene,
        target: str,
        keep_clear: Callable[[], Extent],
        margin: float = MARGIN_M,
        reaches: np.ndarray = REACHES_M,
    ) -> None:
        self.scene, self.target, self.keep_clear, self.margin = scene, target, keep_clear, margin
        others = [name for name in scene.objects if name != target]
        self._obstacles = scene.geoms(*scene.fixtures, *others)
        angles, reaches = np.meshgrid(ANGLES_RAD, reaches)
        around = np.stack([np.cos(angles), np.sin(angles)], axis=-1).reshape(-1, 2)
        self._places = scene.base[:2] + reaches.reshape(-1, 1) * around  # [places, 2]

    def reached(self) -> bool:
        """It is a place to let go, never a goal; see `Destination`."""
        return False

    def placement(self) -> Placement:
        """See `Destination`."""
        target = self.scene.extent(self.target)
        half = 0.5 * (target.high - target.low)[:2] + self.margin
        boxes = self.scene.box_corners(self._obstacles).reshape(-1, 8, 3)
        keep = self.keep_clear()
        low = np.concatenate([boxes.min(axis=1)[:, :2], keep.low[None, :2]])
        high = np.concatenate([boxes.max(axis=1)[:, :2], keep.high[None, :2]])
        places = self._places[:, None]
        taken = np.all((places + half > low) & (places - half < high), axis=2).any(axis=1)
        cost = np.linalg.norm(self._places - target.centre[:2], axis=1) + 10.0 * taken
        surface = self.scene.surface
        return Placement(
            position=np.array([*self._places[int(np.argmin(cost))], surface + ABOVE_SURFACE_M]),
            carry_height=surface + CARRY_CLEARANCE_M,
            tolerance=DOWN_WITHIN_M,
            lowest_hand=surface,
        )
