"""Destinations that are level surfaces: a region of a table, the top of a cabinet, a bowl."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.destinations import CARRY_CLEARANCE_M, RELEASE_ABOVE_RIM_M, OnObject, Placement

ON_REGION_M = 0.012
"""How precisely (m) an object comes down; the narrowest region, the wine rack's, is 2.2 cm to each side."""
ON_BURNER_M = 0.015
BURNER_ABOVE_SITE_M = 0.0255
"""From the region's site, in the middle of the stove's base, up to its surface."""


class OnRegion:
    """A region whose box ends at a surface, as LIBERO's regions for `On` do.

    LIBERO asks for the body's origin above the region, at most 10 cm, and for contact with the fixture that
    the region belongs to (a table's region asks for none).

    Args:
        scene: view of the simulator's present state.
        target: LIBERO's name of the object to be put there.
        owner: LIBERO's name of the fixture or table.
        region: the goal's region, as in the BDDL file.
    """

    def __init__(self, scene: Scene, target: str, owner: str, region: str) -> None:
        self.scene, self.target, self.region = scene, target, region
        self.tolerance = ON_REGION_M

    def reached(self) -> bool:
        """Whether the object is on the region; see `Destination`."""
        return self.scene.met(["on", self.target, self.region])

    def placement(self) -> Placement:
        """The body's origin over the region's middle, down to its surface; see `Destination`."""
        middle, half_size = self.scene.region_box(self.region)
        surface = self._surface(middle, half_size)
        box = self.scene.extent(self.target)
        centre = middle + box.centre - self.scene.position(self.target)
        return Placement(
            position=np.array([*centre[:2], surface]),
            carry_height=surface + CARRY_CLEARANCE_M,
            tolerance=self.tolerance,
            lowest_hand=surface,
        )

    def _surface(self, middle: np.ndarray, half_size: np.ndarray) -> float:
        """Height (m) of the surface."""
        return float(middle[2] + half_size[2])


class CookRegion(OnRegion):
    """The burner of a flat stove, whose region is in the middle of its base; arguments as of `OnRegion`."""

    def __init__(self, scene: Scene, target: str, stove: str, region: str) -> None:
        super().__init__(scene, target, stove, region)
        self.tolerance = ON_BURNER_M

    def _surface(self, middle: np.ndarray, half_size: np.ndarray) -> float:
        return float(middle[2] + BURNER_ABOVE_SITE_M)


class InBowl(OnObject):
    """In a bowl, which LIBERO calls `On` it: let go above the rim, between which no hand fits."""

    def placement(self) -> Placement:
        """Origin above origin, the hand above the rim; see `Destination`."""
        flat, rim = super().placement(), self.scene.extent(self.support).top
        return Placement(flat.position, flat.carry_height, flat.tolerance, rim + RELEASE_ABOVE_RIM_M)
