"""Where an object is to be put: what a goal's region or receptacle asks of a placement."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from lit_distill.sim.scene import Extent, Scene
from lit_distill.teachers.grasps import level_axes

CARRY_CLEARANCE_M = 0.035
RELEASE_ABOVE_RIM_M = 0.01
OVER_CONTAINER_M, LEAST_TOLERANCE_M, SHARE_OF_HALF = 0.025, 0.01, 0.4
"""From how far beside its middle an object is let down into a container, and how much of half its region."""
WALL_M = 0.02
"""Wall of a basket (1.3 cm) and some play."""
INSIDE_M = 0.01
"""How far within the wall the inner end of an object that is too long comes down."""
ABOVE_SUPPORT_M = 0.012
ON_SUPPORT_M = 0.01
CORNERS = ((1.0, 1.0), (-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0))
"""Where several objects go in one region, in this order."""
SHARE_OF_REGION = 0.8
"""How far towards the corner of a region without walls an object's origin is put."""
SHARED_OBJECT_M = 0.012
"""How far from the middle of an object, in x and in y, each of several others is put: LIBERO allows 3 cm."""
BESIDE_OTHERS_M = 0.012
"""How precisely (m) it comes down there."""


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
            tolerance=self._tolerance(),
            lowest_hand=extent.top + RELEASE_ABOVE_RIM_M,
        )

    def _tolerance(self) -> float:
        """How far beside the middle an object may be: the region is narrow when the container is turned."""
        half = self.scene.region_box(self.region)[1][:2]
        return float(np.clip(SHARE_OF_HALF * half.min(), LEAST_TOLERANCE_M, OVER_CONTAINER_M))

    def _aside(self, container: Extent) -> np.ndarray:
        """Offset [2] from the middle at which one end of the object clears the wall, 0 if both do."""
        sides = level_axes(self.scene, self.container)
        axis = self.scene.long_axis(self.target) * [1.0, 1.0, 0.0]
        along = axis / max(float(np.linalg.norm(axis)), 1e-9)
        target, walls = self.scene.corners(self.target), self.scene.corners(self.container)
        inner = [0.5 * float(np.ptp(walls @ side)) - WALL_M for side in sides]
        too_long = [
            0.5 * float(np.ptp(target @ side)) - within for side, within in zip(sides, inner, strict=True)
        ]
        if max(too_long) <= 0.0:
            return np.zeros(2)
        shift = max(
            (excess + INSIDE_M) / max(abs(float(along @ side)), 0.3)
            for side, excess in zip(sides, too_long, strict=True)
        )
        towards_target = np.sign(along[:2] @ (self.scene.extent(self.target).centre - container.centre)[:2])
        return np.asarray(along[:2] * (towards_target or 1.0) * min(shift, *inner))


class OnObject:
    """On top of a flat object such as a plate.

    LIBERO's `On` asks for contact, and for the bodies' origins within 3 cm of each other horizontally.

    Args:
        scene: view of the simulator's present state.
        target: LIBERO's name of the object to be put there.
        support: LIBERO's name of the object that it is put onto.
        place: the goal's second argument: the object itself.
    """

    def __init__(self, scene: Scene, target: str, support: str, place: str) -> None:
        self.scene, self.target, self.support, self.place = scene, target, support, place

    def reached(self) -> bool:
        """Whether the object is on the other; see `Destination`."""
        return self.scene.met(["on", self.target, self.place])

    def placement(self) -> Placement:
        """Origin above origin, let go just above it; see `Destination`."""
        support, target = self.scene.extent(self.support), self.scene.extent(self.target)
        middle = self.scene.position(self.support) + target.centre - self.scene.position(self.target)
        return Placement(
            position=np.array([*middle[:2], support.bottom + ABOVE_SUPPORT_M]),
            carry_height=support.top + CARRY_CLEARANCE_M,
            tolerance=ON_SUPPORT_M,
            lowest_hand=support.bottom,
        )


class Shared:
    """One of several places in the same region or on the same object, towards one of its corners.

    Args:
        scene: view of the simulator's present state.
        destination: the place that an object would get alone.
        target: LIBERO's name of the object to be put there.
        place: the goal's second argument: a region, or an object.
        index: which of the places, from 0.
        walls: whether the region ends at walls, so that the whole object must keep within.
    """

    def __init__(
        self, scene: Scene, destination: Destination, target: str, place: str, index: int, walls: bool
    ) -> None:
        self.scene, self.destination, self.target, self.place = scene, destination, target, place
        self.corner, self.walls = np.array(CORNERS[index % len(CORNERS)]), walls

    def reached(self) -> bool:
        """See `Destination`."""
        return self.destination.reached()

    def placement(self) -> Placement:
        """The destination's own placement, moved aside; see `Destination`."""
        placement = self.destination.placement()
        position = placement.position.copy()
        position[:2] += self.corner * self._room()
        return replace(placement, position=position, tolerance=min(placement.tolerance, BESIDE_OTHERS_M))

    def _room(self) -> np.ndarray:
        """How far [2] the object may be from the middle."""
        if self.scene.parent(self.place) is None:
            return np.full(2, SHARED_OBJECT_M)
        half = self.scene.region_box(self.place)[1][:2]
        if not self.walls:
            return SHARE_OF_REGION * half
        target = self.scene.extent(self.target)
        return np.maximum(half - 0.5 * (target.high - target.low)[:2], 0.0)
