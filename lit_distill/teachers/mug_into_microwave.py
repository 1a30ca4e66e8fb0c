"""Bring a mug into a microwave from wherever it stands or lies.

Only by its handle does it get in. What keeps the hand from the handle is removed first: a mug that lies is
stood up, and one that can be neither taken by its handle nor stood up where it is, is put aside.
"""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Extent, Scene
from lit_distill.teachers.destinations import CARRY_CLEARANCE_M, Destination, Placement
from lit_distill.teachers.hand import Hand
from lit_distill.teachers.put_in_microwave import CarryByDoor, PutInMicrowave
from lit_distill.teachers.skills import Skill
from lit_distill.teachers.stand_up import StandUp

ASIDE_M = np.array([[-0.08, -0.06], [-0.08, -0.16], [0.0, -0.06], [0.0, -0.16]])
"""Where a mug may be put aside: relative to the middle of the table, clear of the door."""
CLEAR_M = 0.13
PUT_ASIDE_STEPS = 90.0


class Aside:
    """A free place on the table where a mug can be dealt with; see `destinations.Destination`.

    Args:
        scene: view of the simulator's present state.
        target: LIBERO's name of the mug.
    """

    def __init__(self, scene: Scene, target: str) -> None:
        self.scene, self.target = scene, target
        self.others = [name for name in scene.objects if name != target]

    def reached(self) -> bool:
        """Never: being put aside is no goal; see `Destination`."""
        return False

    def placement(self) -> Placement:
        """At the nearest of the places that no other object takes; see `Destination`."""
        here = self.scene.extent(self.target).centre[:2]
        others = np.array([self.scene.extent(name).centre[:2] for name in self.others]).reshape(-1, 2)
        crowded = np.linalg.norm(ASIDE_M[:, None] - others, axis=-1).min(axis=1, initial=np.inf) < CLEAR_M
        place = ASIDE_M[np.argmin(np.linalg.norm(ASIDE_M - here, axis=1) + crowded)]
        surface = self.scene.surface
        return Placement(np.array([*place, surface]), surface + CARRY_CLEARANCE_M, 0.03, surface)


class PutAside(CarryByDoor):
    """Puts a mug aside; see `skills.Skill`."""

    def _in_place(self, target: Extent, placement: Placement, held: bool) -> bool:
        return held and super()._in_place(target, placement, held)


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
        self.stand_up = StandUp(scene, hand, target)
        self.put_aside = PutAside(scene, hand, target, Aside(scene, target), microwave)

    def done(self) -> bool:
        """See `Skill`."""
        return self.put_in.done()

    def act(self) -> np.ndarray:
        """See `Skill`."""
        return self._next().act()

    def remaining(self) -> float:
        """See `Skill`."""
        following = self._next()
        steps = self.put_in.remaining()
        if following is self.stand_up:
            steps += self.stand_up.remaining()
        elif following is self.put_aside:
            steps += PUT_ASIDE_STEPS
        return steps

    def _next(self) -> Skill:
        """What the present state calls for."""
        if self.hand.holds(self.target):
            return self.put_in if self.put_in.has_handle() else self.put_aside
        if not self.stand_up.done():
            return self.stand_up if self.stand_up.possible() else self.put_aside
        return self.put_in if self.put_in.has_room() else self.put_aside
