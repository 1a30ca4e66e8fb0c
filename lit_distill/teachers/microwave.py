"""LIBERO's microwave: where its inside and its door are."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Extent, Scene
from lit_distill.teachers.destinations import Placement
from lit_distill.teachers.hand import HAND_HALF_DEPTH_M, HAND_HALF_WIDTH_M, PALM_M

# The inside, in the microwave's frame: x to the right, y inwards, z up; m. Read off its collision boxes.
FLOOR_M = 0.024
REST_M = np.array([-0.035, -0.066, FLOOR_M])
"""Where the mug's origin is put, in the microwave's frame: as deep as the hand before its front allows, and
so far left that the hand clears the panel on the right, which stands out."""
ALIGNED_M = 0.02
FRONT_M = -0.088
TOP_M = 0.187
CAUGHT_M, PRESSED_RAD_S = 0.015, 0.03
"""A hand that reaches further beyond the front than this has to back out before it rises; one that touches it
and whose joints hardly move, already so far before it."""
CEILING_M, SIDES_M = 0.168, (-0.18, 0.18)
"""Height of the inside's upper end, and where the microwave's sides are."""
FREE_BEFORE_M = 0.1
"""How much stays free before the front."""
DOOR_OUTSIDE_M = 0.025
"""Distance of the door's outside from the plane through its hinge."""

DOOR_WIDTH_M = 0.33
WRIST_BOTTOM_M, WRIST_M, WRIST_HALF_WIDTH_M = 0.158, (0.04, 0.135), 0.09
"""Where the arm's wrist is beside a hand that points down: above the grip site, from it towards the base, and
to either side."""
FOREARM_HALF_WIDTH_M = 0.11
"""The same for the forearm, which is on the microwave's side of the wrist."""


class Microwave:
    """One microwave in its present state.

    Args:
        scene: view of the simulator's present state.
        name: LIBERO's name of the microwave.
    """

    def __init__(self, scene: Scene, name: str) -> None:
        self.scene, self.name = scene, name
        (self.joint,) = scene.joint_names(name)
        door = int(scene.model.joint(self.joint).bodyid[0])
        geoms = scene.geoms(name)
        of_door = scene.model.geom_bodyid[geoms] == door
        self.door_geoms, self._body_geoms = geoms[of_door], geoms[~of_door]
        roots = scene.model.body_rootid[scene.model.geom_bodyid]
        arm = scene.model.body_rootid[scene.model.site_bodyid[scene.simulator.controller.site]]
        self._arm_geoms = np.flatnonzero(roots == arm)

    def inside(self, point: np.ndarray) -> np.ndarray:
        """A point [3] of the world, in the microwave's frame (right, inwards, up)."""
        return (point - self.scene.position(self.name)) @ self.scene.rotation(self.name)

    def outside(self, point: np.ndarray) -> np.ndarray:
        """A point [3] of the microwave's frame, in the world."""
        return self.scene.position(self.name) + self.scene.rotation(self.name) @ point

    def turned(self, offset: np.ndarray) -> np.ndarray:
        """An offset [3] in the microwave's frame, in the world's."""
        return self.scene.rotation(self.name) @ offset

    @property
    def inwards(self) -> np.ndarray:
        """Horizontal direction [3] in which things are put into it."""
        return self.scene.rotation(self.name)[:, 1]

    def foremost_of_hand(self) -> float:
        """How far inwards the hand reaches, in the microwave's frame, m."""
        return self._foremost(self.scene.eef_position, self.scene.eef_rotation)

    def catches_hand(self) -> bool:
        """Whether the palm is under the ceiling, or against its edge, where the hand cannot rise."""
        pressed = np.abs(self.scene.joint_velocities).max() < PRESSED_RAD_S and self.touches_arm()
        beyond = -CAUGHT_M if pressed else CAUGHT_M
        return self.would_catch(self.scene.eef_position, self.scene.eef_rotation, beyond)

    def would_catch(self, position: np.ndarray, rotation: np.ndarray, beyond: float = CAUGHT_M) -> bool:
        """Whether it would catch a hand with the grip site at a position [3], of an orientation [3, 3].

        One that reaches so far `beyond` the front (m).
        """
        palm = position - PALM_M * (rotation[:, 2] * [1.0, 1.0, 0.0])
        foremost = self._foremost(palm, rotation)
        right, _, height = self.inside(position)
        under = SIDES_M[0] < right < SIDES_M[1] and height + PALM_M < CEILING_M
        return bool(under and foremost > FRONT_M + beyond)

    def _foremost(self, position: np.ndarray, rotation: np.ndarray) -> float:
        """How far inwards a hand of an orientation [3, 3] reaches at a position [3], in its frame, m."""
        across = np.abs(rotation[:, :2].T @ self.inwards)
        return float(self.inside(position)[1] + across @ [HAND_HALF_WIDTH_M, HAND_HALF_DEPTH_M])

    def touches_arm(self) -> bool:
        """Whether some part of the arm or hand touches it, its door apart."""
        return self.scene.touching(self._body_geoms, self._arm_geoms)

    def door_touches_arm(self) -> bool:
        """Whether some part of the arm or hand touches its door."""
        return self.scene.touching(self.door_geoms, self._arm_geoms)

    def door_under_wrist(self, position: np.ndarray) -> bool:
        """Whether the door is where the wrist of a hand would be that points down at a position [3]."""
        hinge, edge, _ = self.door()
        return self._under_wrist(position, hinge + np.linspace(0.0, DOOR_WIDTH_M, 9)[:, None] * edge)

    def front_under_wrist(self, position: np.ndarray) -> bool:
        """Whether its front is where the wrist of a hand would be that points down at a position [3]."""
        right = np.linspace(*SIDES_M, 10)
        corners = np.stack([right, np.full(10, FRONT_M), np.full(10, TOP_M)], axis=1)
        points = np.array([self.outside(corner) for corner in corners])
        return self._under_wrist(position, points, FOREARM_HALF_WIDTH_M)

    def _under_wrist(
        self, position: np.ndarray, points: np.ndarray, half_width: float = WRIST_HALF_WIDTH_M
    ) -> bool:
        """Whether any of some points [n, 3] as high as its top is where the wrist would be."""
        if position[2] + WRIST_BOTTOM_M > self.top:
            return False
        back = (self.scene.base - position) * [1.0, 1.0, 0.0]
        back /= np.linalg.norm(back)
        across = np.array([-back[1], back[0], 0.0])
        behind, aside = (points - position) @ back, np.abs((points - position) @ across)
        return bool(((behind > WRIST_M[0]) & (behind < WRIST_M[1]) & (aside < half_width)).any())

    @property
    def top(self) -> float:
        """Height (m) of the microwave and of its door."""
        return float(self.scene.position(self.name)[2]) + TOP_M

    @property
    def angle(self) -> float:
        """Angle of the door's hinge: 0 shut, negative open, rad."""
        return self.scene.joint_position(self.joint)

    def door(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Hinge [3], direction [3] from the hinge to the door's free edge, direction [3] of its outside."""
        hinge, rotation = self.scene.joint_frame(self.joint)
        return hinge, rotation[:, 0], -rotation[:, 1]

    def door_extent(self) -> Extent:
        """World-aligned box around the door."""
        corners = self.scene.box_corners(self.door_geoms)
        return Extent(corners.min(axis=0), corners.max(axis=0))

    def front(self) -> Extent:
        """World-aligned box around where a hand before the front is, as wide as the inside."""
        corners = [(SIDES_M[0], FRONT_M - FREE_BEFORE_M, 0.0), (SIDES_M[1], FRONT_M, TOP_M)]
        ends = np.array([self.outside(np.array(corner)) for corner in corners])
        return Extent(ends.min(axis=0), ends.max(axis=0))


class InMicrowave:
    """The inside of a microwave; see `destinations.Destination`.

    Args:
        scene: view of the simulator's present state.
        target: LIBERO's name of the object to be put there.
        name: LIBERO's name of the microwave.
        region: the goal's region, as in the BDDL file.
    """

    def __init__(self, scene: Scene, target: str, name: str, region: str) -> None:
        self.scene, self.target, self.name, self.region = scene, target, name, region
        self.microwave = Microwave(scene, name)

    def reached(self) -> bool:
        """Whether the object is in the region; see `Destination`."""
        return self.scene.met(["in", self.target, self.region])

    def placement(self) -> Placement:
        """On the floor just behind the front; see `Destination`."""
        position = self.microwave.outside(REST_M)
        return Placement(position, float(position[2]), ALIGNED_M, float(position[2]))
