"""Bring a mug into a microwave from wherever it stands or lies.

Only by its handle does it get in. What keeps the hand from the handle is removed first: a mug that lies is
stood up, and one that can be neither taken by its handle nor stood up where it is, is put aside.
"""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Extent, Scene
from lit_distill.teachers.aside import FreePlace
from lit_distill.teachers.clearance import Obstacle
from lit_distill.teachers.destinations import Destination, Placement
from lit_distill.teachers.door import OpenWide
from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.hand import CLOSE, OPEN, Hand
from lit_distill.teachers.microwave import FLOOR_M
from lit_distill.teachers.mug_grasps import mug_grasps
from lit_distill.teachers.pushing import Push
from lit_distill.teachers.put_in_microwave import CarryByDoor, PutInMicrowave
from lit_distill.teachers.skills import Skill

PUT_ASIDE_STEPS = 90.0
REACHES_M = np.arange(0.4, 0.81, 0.05)
"""Distances from the robot's base at which a mug is put aside."""
HAND_ROOM_M = 0.05
"""Room around a mug that is put aside, so that the hand can take it by its handle."""
ASIDE_ANGLES_RAD = np.radians([0.0, 45.0, -45.0, 90.0, -90.0, 135.0, -135.0])
"""Where on the rim a mug may be taken that is put aside, from the point opposite the handle."""
PUSH_BEHIND_M, PUSH_HEIGHT_M = 0.03, 0.045
"""Where the fingers begin to push: behind the mug, and above the floor."""
BACK_OUT_M, LOWER_M = 0.05, 0.03
IN_THE_AIR_M = 0.06
"""A mug that is so high above the table and touches a finger hangs on it."""
HIT_COST_RAD, FAR_COST_RAD_M = 3.0, 3.0


class PutAside(CarryByDoor):
    """Puts a mug aside; see `skills.Skill`."""

    def _in_place(self, target: Extent, placement: Placement, held: bool) -> bool:
        return held and super()._in_place(target, placement, held)

    def _grasp(
        self, target: Extent, obstacles: dict[str, Obstacle], placement: Placement
    ) -> tuple[Grasp, Push | None]:
        return min(mug_grasps(self.scene, self.target, ASIDE_ANGLES_RAD), key=self._handicap), None

    def _handicap(self, grasp: Grasp) -> float:
        """What speaks against a grasp: being in the way of things, turning, being far."""
        turn, way = self.hand.turn_to(grasp.axis), np.linalg.norm(grasp.position - self.scene.eef_position)
        return HIT_COST_RAD * self._hits(grasp, self._geoms) + abs(turn) + FAR_COST_RAD_M * float(way)


class PushIn(CarryByDoor):
    """Pushes a mug inwards that lies half way in; see `skills.Skill`."""

    def _in_place(self, target: Extent, placement: Placement, held: bool) -> bool:
        return False

    def _grasp(
        self, target: Extent, obstacles: dict[str, Obstacle], placement: Placement
    ) -> tuple[Grasp, Push | None]:
        corners = self.microwave.inside(self.scene.corners(self.target))
        centre = 0.5 * (corners.min(axis=0) + corners.max(axis=0))
        behind = float(corners[:, 1].min()) - PUSH_BEHIND_M
        start = self.microwave.outside(np.array([centre[0], behind, FLOOR_M + PUSH_HEIGHT_M]))
        inwards = self.microwave.inwards
        right = np.array([inwards[1], -inwards[0], 0.0])
        return mug_grasps(self.scene, self.target)[0], Push(start, inwards, right)


class MugIntoMicrowave:
    """Brings the mug `target` into a microwave that is open; see `skills.Skill`.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that moves it.
        target: LIBERO's name of the mug.
        destination: the region inside.
        microwave: LIBERO's name of the microwave.
    """

    def __init__(
        self, scene: Scene, hand: Hand, target: str, destination: Destination, microwave: str
    ) -> None:
        self.hand, self.target = hand, target
        self.put_in = PutInMicrowave(scene, hand, target, destination, microwave)
        self.push_in = PushIn(scene, hand, target, destination, microwave)
        self.make_room = OpenWide(scene, hand, microwave)
        place = FreePlace(scene, target, self.put_in.microwave.front, HAND_ROOM_M, REACHES_M)
        self.put_aside = PutAside(scene, hand, target, place, microwave)

    def done(self) -> bool:
        """See `Skill`."""
        return self.put_in.done()

    def act(self) -> np.ndarray:
        """See `Skill`."""
        microwave = self.put_in.microwave
        if not self.hand.holds(self.target):
            if microwave.catches_hand():
                return self.hand.reach(-BACK_OUT_M * microwave.inwards, np.zeros(3), OPEN)
            if self._hangs():
                return self.hand.servo(np.array([0.0, 0.0, -LOWER_M]), 0.0, CLOSE)
        return self._next().act()

    def _hangs(self) -> bool:
        """Whether the mug hangs on a finger that does not hold it."""
        scene = self.hand.scene
        target, microwave = scene.extent(self.target), scene.extent(self.put_in.microwave.name)
        over = np.all((target.low < microwave.high)[:2] & (target.high > microwave.low)[:2])
        high = target.bottom > scene.surface + IN_THE_AIR_M
        return bool(high and not over and scene.fingers_touching(self.target))

    def remaining(self) -> float:
        """See `Skill`."""
        return self.put_in.remaining() + (0.0 if self._next() is self.put_in else PUT_ASIDE_STEPS)

    def _next(self) -> Skill:
        """What the present state calls for."""
        if self.hand.holds(self.target):
            return self.put_in if self.put_in.holds() else self.put_aside
        by_door, otherwise = self.put_in.blocked()
        if otherwise:
            return self.push_in if self.put_in.protrudes() else self.put_aside
        return self.make_room if self.make_room.goes_on(by_door) else self.put_in
