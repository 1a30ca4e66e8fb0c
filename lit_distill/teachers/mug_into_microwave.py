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
from lit_distill.teachers.hand import Hand
from lit_distill.teachers.mug_grasps import mug_grasps
from lit_distill.teachers.pushing import Push
from lit_distill.teachers.put_in_microwave import CarryByDoor, PutInMicrowave
from lit_distill.teachers.skills import Skill

PUT_ASIDE_STEPS = 90.0
HAND_ROOM_M = 0.08
"""Room around a mug that is put aside, so that the hand can take it by its handle."""
ASIDE_ANGLES_RAD = np.radians([0.0, 45.0, -45.0, 90.0, -90.0, 135.0, -135.0])
"""Where on the rim a mug may be taken that is put aside, from the point opposite the handle."""
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
        self.make_room = OpenWide(scene, hand, microwave)
        place = FreePlace(scene, target, self.put_in.microwave.reserved, HAND_ROOM_M)
        self.put_aside = PutAside(scene, hand, target, place, microwave)

    def done(self) -> bool:
        """See `Skill`."""
        return self.put_in.done()

    def act(self) -> np.ndarray:
        """See `Skill`."""
        return self._next().act()

    def remaining(self) -> float:
        """See `Skill`."""
        return self.put_in.remaining() + (0.0 if self._next() is self.put_in else PUT_ASIDE_STEPS)

    def _next(self) -> Skill:
        """What the present state calls for."""
        if self.hand.holds(self.target):
            return self.put_in if self.put_in.holds() else self.put_aside
        by_door, otherwise = self.put_in.blocked()
        if otherwise:
            return self.put_aside
        return self.make_room if by_door and not self.make_room.done() else self.put_in
