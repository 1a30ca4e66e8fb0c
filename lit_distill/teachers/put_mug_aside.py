"""Putting a mug aside, away from a microwave, so that it can be taken by its handle."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Extent
from lit_distill.teachers.clearance import Obstacle
from lit_distill.teachers.destinations import Placement
from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.grasp_choice import reachable, wrist_aside
from lit_distill.teachers.hand import BLOCKED_OPENING_M, CLOSE
from lit_distill.teachers.hand_box import Boxes
from lit_distill.teachers.microwave import FRONT_M
from lit_distill.teachers.mug_grasps import mug_grasps
from lit_distill.teachers.pick_place import AROUND_M
from lit_distill.teachers.pushing import Push
from lit_distill.teachers.put_in_microwave import AT_GRASP_M, LEANS_RAD, WAY_M, CarryByDoor
from lit_distill.teachers.vectors import orientation

ASIDE_ANGLES_RAD = np.radians([0.0, 45.0, -45.0, 90.0, -90.0, 135.0, -135.0])
"""Where on the rim the mug may be taken, from the point opposite the handle."""
HIT_COST_RAD, FAR_COST_RAD_M, TILT_COST = 3.0, 3.0, 2.0
PULL_M, AT_FRONT_M = 0.05, 0.03
"""How far ahead a hand is sent that pulls a mug away from the front, and up to how far before it."""
OPENED_M = 0.06
"""Fingers at a grasp that are so far apart are about to close: whatever they touch, they go on."""


class PutAside(CarryByDoor):
    """Puts a mug aside; see `skills.Skill`."""

    def act(self) -> np.ndarray:
        """See `Skill`: a mug that leans on the front in fingers that cannot close is pulled away from it."""
        if self._clasps():
            return self.hand.reach(-PULL_M * self.microwave.inwards, np.zeros(3), CLOSE)
        return super().act()

    def _clasps(self) -> bool:
        """Whether something of the mug, before the front, keeps closed fingers apart that do not hold it."""
        between = self.hand.closed() and self.scene.opening > BLOCKED_OPENING_M and not self.held()
        around = self.hand.around(self.scene.extent(self.target), AROUND_M)
        return bool(between and around and self._foremost() > FRONT_M - AT_FRONT_M)

    def _in_place(self, target: Extent, placement: Placement, held: bool) -> bool:
        there = np.linalg.norm(placement.position[:2] - target.centre[:2]) < placement.tolerance
        return bool(held and there and super()._in_place(target, placement, held))

    def has_room(self) -> bool:
        """Whether there is room for the hand at the best grasp, or it is there."""
        best = self._best()
        there = float(np.linalg.norm(best.position - self.scene.eef_position)) < AT_GRASP_M
        at_it = there and self.scene.opening > OPENED_M
        return bool(at_it or not self._hindered(best, self.scene.geom_boxes(self._geoms)))

    def _grasp(
        self, target: Extent, obstacles: dict[str, Obstacle], placement: Placement
    ) -> tuple[Grasp, Push | None]:
        return self._best(), None

    def _best(self) -> Grasp:
        grasps = mug_grasps(self.scene, self.target, ASIDE_ANGLES_RAD)
        leaning = [self._leaning(grasp, lean) for grasp in grasps for lean in LEANS_RAD]
        boxes = self.scene.geom_boxes(self._geoms)
        return min([*grasps, *leaning], key=lambda grasp: self._handicap(grasp, boxes))

    def _handicap(self, grasp: Grasp, boxes: Boxes) -> float:
        """What speaks against a grasp: being in the way of things, turning, being far."""
        effort, way = self.hand.effort(grasp.axis), np.linalg.norm(grasp.position - self.scene.eef_position)
        reached = self.hand.within_reach(grasp.position) and reachable(grasp, self.hand)
        hindered = self._hindered(grasp, boxes) + (not reached)
        effort += TILT_COST * float(np.linalg.norm(self.hand.tilt(grasp.approach)))
        return HIT_COST_RAD * hindered + effort + FAR_COST_RAD_M * float(way) + grasp.penalty

    def _hindered(self, grasp: Grasp, boxes: Boxes) -> int:
        """How many of some boxes are in the way of the hand at a grasp; the microwave also of its wrist."""
        microwave, wrist = self.microwave, grasp.position - wrist_aside(grasp)
        caught = microwave.would_catch(grasp.position, orientation(grasp.axis, grasp.approach))
        over = microwave.door_under_wrist(wrist) + microwave.front_under_wrist(wrist)
        return self._hits(grasp, boxes, WAY_M if grasp.leans else WAY_M[:1]) + caught + over
